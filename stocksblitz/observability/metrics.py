"""Every Prometheus metric, declared once. Each process counts its own; ``/metrics`` adds them up."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_PER_INDICATOR = ["symbol", "timeframe", "indicator"]

cache_hits = Counter(
    "indicator_cache_hits_total", "Reads answered from the cache", _PER_INDICATOR, registry=REGISTRY
)
cache_misses = Counter(
    "indicator_cache_misses_total",
    "Reads that had to wait for a computation",
    _PER_INDICATOR,
    registry=REGISTRY,
)
computations = Counter("indicator_computations_total", "Values computed", _PER_INDICATOR, registry=REGISTRY)
shared_users = Gauge(
    "indicator_shared_users", "Sessions that share one computation", _PER_INDICATOR, registry=REGISTRY
)
subscriptions = Counter(
    "indicator_subscriptions_total", "Subscriptions made", _PER_INDICATOR, registry=REGISTRY
)
active_subscriptions = Gauge(
    "indicator_active_subscriptions",
    "Computations with a subscriber",
    ["symbol", "timeframe"],
    registry=REGISTRY,
)
cleanup_runs = Counter("indicator_cleanup_runs_total", "Runs of the cleanup", registry=REGISTRY)

frames_delivered = Counter(
    "stocksblitz_frames_delivered_total", "Messages written to sessions", registry=REGISTRY
)
values_delivered = Counter(
    "stocksblitz_values_delivered_total", "Indicator values within the messages written", registry=REGISTRY
)
frames_conflated = Counter(
    "stocksblitz_frames_conflated_total", "Forming frames a slow session skipped", registry=REGISTRY
)
frames_repaired = Counter(
    "stocksblitz_frames_repaired_total", "Closed frames read from the log after a gap", registry=REGISTRY
)
delivery_lag = Histogram(
    "stocksblitz_delivery_lag_seconds",
    "From the flush of the feed to the write to the sessions",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
    registry=REGISTRY,
)
sockets = Gauge("stocksblitz_sockets", "Open WebSockets", registry=REGISTRY)
socket_closes = Counter(
    "stocksblitz_socket_closes_total", "Sockets closed, by code", ["code"], registry=REGISTRY
)
jobs_waiting = Gauge("stocksblitz_jobs_waiting", "One-shot computations waited for", registry=REGISTRY)
feed_ticks = Counter("stocksblitz_feed_ticks_total", "Ticks taken in by the feed", registry=REGISTRY)
feed_rejected = Counter(
    "stocksblitz_feed_rejected_total", "Ticks or rows refused", ["reason"], registry=REGISTRY
)
feed_flush = Histogram("stocksblitz_feed_flush_seconds", "Duration of a flush", registry=REGISTRY)
bad_data = Counter(
    "stocksblitz_bad_data_total",
    "Values in Redis that were skipped, by format",
    ["format"],
    registry=REGISTRY,
)
broken_indicators = Counter(
    "stocksblitz_broken_indicators_total", "Indicators stopped by an error", ["indicator"], registry=REGISTRY
)
quotes = Counter(
    "stocksblitz_quotes_total",
    "Quotes asked for, by what came of it: hits, misses, waits, api_calls, failures, stretched",
    ["account", "provider", "event"],
    registry=REGISTRY,
)
portfolio = Counter(
    "stocksblitz_portfolio_total",
    "What the portfolio engine did: symbols_processed, accounts_revalued, snapshots_written, decisions, drift_alarms, …",
    ["event"],
    registry=REGISTRY,
)
portfolio_accounts = Gauge("stocksblitz_portfolio_accounts", "Accounts held in columns", registry=REGISTRY)
portfolio_dirty = Gauge(
    "stocksblitz_portfolio_dirty_users", "Accounts that wait", ["user_type"], registry=REGISTRY
)
portfolio_cycle = Histogram(
    "stocksblitz_portfolio_cycle_seconds",
    "Duration of a cycle with something to do",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
    registry=REGISTRY,
)
