"""Settings: everything that an operator may set comes from the environment (docs/configuration.md tells of each)."""

import os
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from stocksblitz.devserver import embedded_redis
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.redis import url as redis_url
from stocksblitz.secret import Secret

BASE_DIR = Path(__file__).resolve().parent.parent
DEFAULT_SECRET = "development-only-never-in-production-0123456789abcdef"


def env(name: str, default: str) -> str:
    return os.environ.get(name) or default


def env_int(name: str, default: int) -> int:
    value = env(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}") from None


def env_list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in env(name, default).split(",") if item.strip()]


def networks(items: list[str]) -> list[str]:
    try:
        return [str(ip_network(item)) for item in items]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"TRUSTED_PROXIES must be addresses and networks (10.0.0.1, 10.0.0.0/8), separated by commas: {error}"
        ) from None


DEBUG = env("DEBUG", "1") == "1"
SECRET_KEY = Secret(env("SECRET_KEY", DEFAULT_SECRET))
if not DEBUG and SECRET_KEY == DEFAULT_SECRET:
    raise ImproperlyConfigured(
        "DEBUG=0 needs a SECRET_KEY of your own: set the environment variable SECRET_KEY"
    )

PORT = env_int("PORT", 8000)
DATA_DIR = Path(env("STOCKSBLITZ_DATA", str(BASE_DIR / ".data"))).absolute()
try:
    FEED = FeedSpec.parse(env("FEED", "simulated"))
except ValueError as error:
    raise ImproperlyConfigured(str(error)) from error

ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]" if DEBUG else "")
ALLOWED_ORIGINS = env_list(
    "ALLOWED_ORIGINS", f"http://localhost:{PORT},http://127.0.0.1:{PORT}" if DEBUG else ""
)
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
TRUSTED_PROXIES = networks(env_list("TRUSTED_PROXIES"))
"""Whose X-Forwarded-For and X-Forwarded-Proto count; nobody's by default, also not loopback's."""
CSRF_FAILURE_VIEW = "stocksblitz.api.error_views.csrf_failed"

# --- Redis -----------------------------------------------------------------------------------------------------------

try:
    REDIS_URL = Secret(redis_url.check(env("REDIS_URL", embedded_redis.url(DATA_DIR))))
except ValueError as error:
    raise ImproperlyConfigured(str(error)) from error
REDIS_NAMESPACE = env("REDIS_NAMESPACE", "")
"""Stands in front of every Redis name, so that several installations (or tests) can share one server."""

# --- The path of a tick ----------------------------------------------------------------------------------------------

FEED_FLUSH_MS = env_int("FEED_FLUSH_MS", 100)
HOT_BARS = env_int("HOT_BARS", 3000)
"""Closed bars of one (symbol, timeframe) kept in Redis."""
FRAME_LOG = env_int("FRAME_LOG", 256)
"""Closed frames of one stream kept for sessions that missed some."""
SIMULATED_SEED = env_int("SIMULATED_SEED", 7)

# --- Sessions and limits ---------------------------------------------------------------------------------------------

SESSION_TTL = env_int("SESSION_TTL", 300)
RECONNECT_GRACE = env_int("RECONNECT_GRACE", 30)
CLEANUP_INTERVAL = env_int("CLEANUP_INTERVAL", 60)
HEARTBEAT_MS = env_int("HEARTBEAT_MS", 30_000)
WS_MAX_MESSAGE = env_int("WS_MAX_MESSAGE", 65_536)
WS_MAX_STREAMS = env_int("WS_MAX_STREAMS", 128)
WS_MAX_INDICATORS = env_int("WS_MAX_INDICATORS", 64)
WS_MAX_SOCKETS = env_int("WS_MAX_SOCKETS", 20)
WS_MESSAGES_PER_SECOND = env_int("WS_MESSAGES_PER_SECOND", 50)
WS_MAILBOX_BYTES = env_int("WS_MAILBOX_BYTES", 917_504)
"""Bound of what waits for one slow session, the socket's own buffer left out."""
SNAPSHOT_CELLS = 20_000
"""Largest history in a snapshot: bars x (1 + indicators)."""
WS_TICKET_TTL = env_int("WS_TICKET_TTL", 30)
COMPUTE_WAIT_MS = env_int("COMPUTE_WAIT_MS", 8_000)
"""How long a reader waits for a one-shot computation before it is told to try again."""

# --- Quotes and portfolio --------------------------------------------------------------------------------------------

PRICE_CACHE_TIME = float(env("PRICE_CACHE_TIME", "1.0"))
"""Seconds for which a fetched price is given out again; 0: each is fetched."""
PRICE_CACHE_STRETCH = env_int("PRICE_CACHE_STRETCH", 4)
"""Times PRICE_CACHE_TIME is the longest that a price counts when many wait for it; 1: never longer."""
QUOTE_ACCOUNTS = Secret(env("QUOTE_ACCOUNTS", ""))
"""Credentials with price providers: JSON, or the path of a JSON file (docs/quotes.md)."""
QUOTE_TIMEOUT = float(env("QUOTE_TIMEOUT", "10"))
"""Seconds that a caller waits for a price at most."""
PORTFOLIO_CYCLE_MS = env_int("PORTFOLIO_CYCLE_MS", 200)
PORTFOLIO_USER_TYPES = env_list("PORTFOLIO_USER_TYPES", "live,demo")
PORTFOLIO_MOCK_TYPES = env_list("PORTFOLIO_MOCK_TYPES", "demo")
"""Types of accounts that simulated and replayed prices may revalue and close; never ``live``."""
PORTFOLIO_MARGIN_CALL_LEVEL = env("PORTFOLIO_MARGIN_CALL_LEVEL", "100")
PORTFOLIO_STOP_OUT_LEVEL = env("PORTFOLIO_STOP_OUT_LEVEL", "50")
PORTFOLIO_PRICE_STALE_MS = env_int("PORTFOLIO_PRICE_STALE_MS", 60_000)
"""Age at which a price is stale whose feed does not say until when it is fresh."""
PORTFOLIO_MAX_DIRTY = env_int("PORTFOLIO_MAX_DIRTY", 1_000_000)
"""Bound of dirty accounts of one type that wait; beyond it everything held is dirty, which needs no list."""
PORTFOLIO_SWEEP_S = env_int("PORTFOLIO_SWEEP_S", 5)
"""Everything held is read and revalued this often, whatever notifications were lost."""
PORTFOLIO_DRIFT_SAMPLE = env_int("PORTFOLIO_DRIFT_SAMPLE", 100)
"""One of so many revalued accounts is reckoned again in Decimal; a difference is an alarm."""
PORTFOLIO_QUOTE_ACCOUNT = env("PORTFOLIO_QUOTE_ACCOUNT", "feed")
"""The account of QUOTE_ACCOUNTS by which market orders and closes ask for their price."""

# --- Django ----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    # Daphne's app replaces `runserver` alone, and its import of Twisted is a fifth of the start of a process.
    *(["daphne"] if "runserver" in sys.argv else []),
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servestatic",
    "channels",
    "rest_framework",
    "rest_framework_api_key",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "axes",
    "stocksblitz.identity",
    "stocksblitz.market",
    "stocksblitz.delivery",
    "indicators",
    "portfolio",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "stocksblitz.server.http.not_kept",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "stocksblitz.api.error_views.NotFound",
]

# Also with DEBUG=1: a failure is told in the log, and its page shows nothing of the server.
DEFAULT_EXCEPTION_REPORTER = "stocksblitz.api.error_views.QuietReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "stocksblitz.api.error_views.NothingReported"

ROOT_URLCONF = "stocksblitz.urls"
ASGI_APPLICATION = "stocksblitz.asgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": dj_database_url.parse(env("DATABASE_URL", f"sqlite:///{DATA_DIR}/stocksblitz.sqlite3"))
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    DATABASES["default"]["CONN_MAX_AGE"] = (
        None  # each thread keeps its own (stocksblitz.server.http bounds them)
    )
    # A file, so that the threads of a test each have a connection of their own, as in life.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A lost server is asked for again at once, not after the pool's own pauses, which grow to minutes.
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": 16,
        "timeout": 5,
        "reconnect_timeout": 4,
    }
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "KEY_FUNCTION": "stocksblitz.redis.client.cache_key",
        **redis_url.cache(REDIS_URL),
    }
}
# While Redis is away browser sessions are read from the database, which has them all; anything else must say so.
CACHES["sessions"] = {
    **CACHES["default"],
    "OPTIONS": {**CACHES["default"]["OPTIONS"], "IGNORE_EXCEPTIONS": True},
}
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_CACHE_ALIAS = "sessions"

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [redis_url.channel_host(REDIS_URL)], "prefix": f"{REDIS_NAMESPACE}sb:layer"},
    }
}

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 20
AXES_COOLOFF_TIME = 0.25
AXES_VERBOSE = False
AXES_HANDLER = "stocksblitz.identity.lockout.LockoutHandler"
AXES_LOCKOUT_CALLABLE = "stocksblitz.api.error_views.locked_out"

LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static-built"
STATICFILES_DIRS = [BASE_DIR / "static"]

SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
    "img-src": [CSP.SELF, "data:"],
    "connect-src": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "object-src": [CSP.NONE],
}
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # HSTS is the proxy's, as TLS is (deploy/nginx)
    "security.W008",  # so is the way from http to https
]
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env("SECURE_COOKIES", "0" if DEBUG else "1") == "1"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "stocksblitz.identity.authentication.TokenAuthentication",
        "stocksblitz.identity.authentication.ApiKeyAuthentication",
        "stocksblitz.identity.authentication.CookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["stocksblitz.api.json_format.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["stocksblitz.api.json_format.JSONParser"],
    "DEFAULT_THROTTLE_CLASSES": ["stocksblitz.api.throttles.UserThrottle"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "stocksblitz.api.problems.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": SECRET_KEY,
    "ISSUER": "stocksblitz",
    "AUDIENCE": "stocksblitz",
    "USER_ID_CLAIM": "sub",
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=env_int("ACCESS_TOKEN_TTL", 3_600)),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=env_int("REFRESH_TOKEN_TTL", 7 * 86_400)),
}
REST_MAX_BODY = env_int("REST_MAX_BODY", 262_144)
"""Largest body of a request over HTTP, in bytes."""
REQUEST_TIMEOUT = env_int("REQUEST_TIMEOUT", 30)
"""Seconds within which a request must have arrived whole; also how long a client may leave a response unread."""
REST_REQUESTS_PER_MINUTE = env_int("REST_REQUESTS_PER_MINUTE", 60_000 if DEBUG else 3_000)
AUTH_REQUESTS_PER_MINUTE = env_int("AUTH_REQUESTS_PER_MINUTE", 6_000 if DEBUG else 60)

SPECTACULAR_SETTINGS = {
    "TITLE": "StocksBlitz",
    "DESCRIPTION": "Live market analytics: every indicator computed once, every session sent only its own.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.1",
    "ENUM_NAME_OVERRIDES": {
        "InstrumentKind": "stocksblitz.market.models.Instrument.Kind",
        "LedgerKind": "portfolio.models.LedgerEntry.Kind",
        "MarginEventKind": "portfolio.models.MarginEvent.Kind",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "stocksblitz.api.schema.summarise",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
}

LOGGING_CONFIG = "stocksblitz.observability.logs.configure"
LOGGING = {"level": env("LOG_LEVEL", "INFO"), "format": env("LOG_FORMAT", "text")}
