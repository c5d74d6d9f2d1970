/** Types of the client's options, events and messages. Times are milliseconds UTC; null means "not known yet". */
import type { ClientError } from "./errors.js";

export interface Ohlcv {
    ts: number;
    open: number;
    high: number;
    low: number;
    close: number;
    volume: number;
    closed: boolean;
}
export type Value = number | Record<string, number | null> | null;
export interface IndicatorValue {
    ts: number;
    value: Value;
    timeframe: string;
    ready: boolean;
}
export type BarRow = [ts: number, open: number, high: number, low: number, close: number, volume: number];
/** Closed bars and their indicator values, oldest first. */
export interface History {
    bars: BarRow[];
    indicators: Record<string, Value[]>;
    complete: boolean;
}
/** Message `market_update`. */
export interface Update {
    type: string;
    symbol: string;
    timeframe: string;
    timestamp: string;
    epoch: string;
    seq: number;
    ohlcv: Ohlcv | null;
    greeks: any;
    oi: any;
    indicators: Record<string, IndicatorValue>;
    source: string;
    stale: boolean;
}
export interface Snapshot extends Update {
    history: History;
    /** Whether its history continues the bars received before a lost connection. */
    resumed: boolean;
    /** Whether it answers a call of `subscribe`. */
    requested: boolean;
}
export interface Subscription {
    symbol: string;
    timeframe: string;
    indicators: string[];
}
export interface Lagged {
    symbol: string;
    timeframe: string;
    from_seq: number;
    to_seq: number;
}
/** Missing frames that no `lagged` message named. */
export interface Gap {
    symbol: string;
    timeframe: string;
    expected: number;
    got: number;
}
export type StateName = "connecting" | "live" | "reconnecting" | "stopped" | "closed";
export interface State {
    state: StateName;
    code: number;
    reason: string;
    retryInMs: number;
    attempt: number;
}
export interface EventMap {
    update: Update;
    snapshot: Snapshot;
    state: State;
    lagged: Lagged;
    gap: Gap;
    error: ClientError;
}
export interface Stats {
    frames: number;
    lagged: number;
    gaps: number;
    duplicates: number;
    reconnects: number;
}
export interface IndicatorSpec {
    name: string;
    params?: Record<string, unknown>;
}
export type Indicators = string[] | IndicatorSpec[] | Record<string, IndicatorSpec>;
export interface Options {
    /** Address of the server; by default the origin of the page. */
    url?: string;
    /** JWT, or a function that returns a fresh one; without it the cookie login gets a one-time ticket for the socket. */
    token?: string | (() => string | Promise<string>);
    /** Session id; by default the tab's own. */
    sessionId?: string;
}
export type Timer = ReturnType<typeof setTimeout> | undefined;
