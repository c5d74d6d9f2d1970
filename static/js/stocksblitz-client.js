// @ts-check
/**
 * Browser client of StocksBlitz: one tab, one session, exactly the indicators that this tab asked for.
 *
 *     import { StocksBlitzClient } from "/static/js/stocksblitz-client.js";
 *     const client = new StocksBlitzClient();                       // cookie login; or { token: "…" }
 *     client.on("update", (m) => console.log(m.symbol, m.ohlcv.close, m.indicators));
 *     await client.connect();
 *     const snapshot = await client.subscribe("NIFTY50", "5min", ["RSI_14", "MACD_12_26_9"], { history: 300 });
 *
 * What was subscribed stays subscribed across lost connections: the client comes back by itself, asks for the bars that
 * closed meanwhile (`since_bar`) and emits the snapshot with `resumed: true`.
 *
 * @module
 */

/** @typedef {{ts: number, open: number, high: number, low: number, close: number, volume: number, closed: boolean}} Ohlcv */
/** @typedef {number | Record<string, number | null> | null} Value  null: not known yet */
/** @typedef {{ts: number, value: Value, timeframe: string, ready: boolean}} Reading */
/** @typedef {[ts: number, open: number, high: number, low: number, close: number, volume: number]} BarRow */
/** @typedef {{bars: BarRow[], indicators: Record<string, Value[]>, complete: boolean}} History  oldest first */
/** @typedef {{iv: number, delta: number, gamma: number, theta: number, vega: number, rho: number}} Greeks */
/**
 * @typedef {object} Update  a `market_update`
 * @property {string} type
 * @property {string} symbol
 * @property {string} timeframe
 * @property {string} timestamp
 * @property {string} epoch
 * @property {number} seq
 * @property {Ohlcv | null} ohlcv
 * @property {any} greeks
 * @property {any} oi
 * @property {Record<string, Reading>} indicators
 * @property {string} source
 * @property {boolean} stale
 */
/** @typedef {Update & {history: History, resumed: boolean, requested: boolean}} Snapshot  resumed: its history continues
 * what was seen before; requested: it answers a call of `subscribe` */
/** @typedef {"connecting" | "live" | "reconnecting" | "stopped" | "closed"} StateName */
/** @typedef {{state: StateName, code: number, reason: string, retryInMs: number, attempt: number}} State */
/** @typedef {{name: string, params?: Record<string, unknown>}} IndicatorSpec */
/** @typedef {string[] | IndicatorSpec[] | Record<string, IndicatorSpec>} Indicators */
/** @typedef {{frames: number, lagged: number, gaps: number, duplicates: number, reconnects: number}} Stats */
/**
 * @typedef {object} Options
 * @property {string} [url] where the server is; default: where the page came from
 * @property {string | (() => string | Promise<string>)} [token] a JWT, or a function that gives a fresh one; without it
 *   the cookie login is used and a one-time ticket opens the socket
 * @property {string} [sessionId] default: one per tab
 */
/**
 * @typedef {object} EventMap
 * @property {Update} update
 * @property {Snapshot} snapshot
 * @property {State} state
 * @property {{symbol: string, timeframe: string, from_seq: number, to_seq: number}} lagged
 * @property {{symbol: string, timeframe: string, expected: number, got: number}} gap frames missing that no `lagged` named
 * @property {ClientError} error
 */
/** @typedef {{symbol: string, timeframe: string, indicators: Set<string>, bars: boolean, lastClosed: number, epoch: string, seq: number}} Stream
 *   bars: asked for without indicators, so it stays when the last of them goes */
/**
 * @typedef {object} Request
 * @property {Record<string, any>} message
 * @property {(value: any) => void} resolve
 * @property {(error: ClientError) => void} reject
 * @property {boolean} resume made by the client itself to continue a stream; forgotten when the socket drops
 * @property {ReturnType<typeof setTimeout> | undefined} timer
 */

const SESSION_KEY = "stocksblitz.session";
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const STEADY_AFTER_MS = 5_000;
const ANSWER_WITHIN_MS = 20_000;
const ALIVE_WITHIN_MS = 10_000;
const RESUME_AGAIN_MS = 2_000;
/** The server closes at 50 messages a second; a client with many streams spreads its subscriptions. */
const BURST = 25;
const BURST_EVERY_MS = 1_000;

const REASONS = /** @type {Record<number, string>} */ ({
    1012: "server restart",
    4000: "try again",
    4008: "too slow",
    4029: "too many messages",
    4501: "not authenticated",
    4503: "forbidden",
    4508: "session ended",
    4509: "too many connections",
    4510: "replaced by another connection of this session",
    4513: "message too large",
});

/** A refusal or a failure: `code` is stable, `retryable` tells whether the same request may succeed later. */
export class ClientError extends Error {
    /** @param {string} code @param {string} message @param {boolean} retryable */
    constructor(code, message, retryable = false) {
        super(message);
        this.name = "ClientError";
        this.code = code;
        this.retryable = retryable;
    }
}

/** How long to wait before attempt n (0 is the first): doubling, half of it random, so that clients spread.
 * @param {number} attempt @param {() => number} [random] */
export function backoff(attempt, random = Math.random) {
    const full = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
    return Math.round(full / 2 + (random() * full) / 2);
}

/** 4500–4999 mean: do not come back. @param {number} code */
export function isFinal(code) {
    return code >= 4500 && code <= 4999;
}

/** A random UUID, also where the page is not a secure context. */
export function uuid() {
    if (globalThis.crypto.randomUUID) return globalThis.crypto.randomUUID();
    const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Hold a Web Lock for as long as this page lives. A reloaded page may find its former self still holding it for a
 * moment, hence the short wait. @param {string} id @returns {Promise<boolean>} whether it is ours */
function holdLock(id) {
    return new Promise((resolve) => {
        const forever = () => {
            resolve(true);
            return new Promise(() => {});
        };
        navigator.locks
            .request(`stocksblitz:${id}`, { signal: AbortSignal.timeout(400) }, forever)
            .catch(() => resolve(false));
    });
}

/** This tab's session id: kept across reloads, new in a duplicated tab (which copies sessionStorage but cannot have the
 * lock). Without Web Locks (no secure context) every page load is a session of its own. @returns {Promise<string>} */
export async function claimSession() {
    if (!globalThis.sessionStorage || !globalThis.navigator?.locks) return uuid();
    const known = sessionStorage.getItem(SESSION_KEY);
    if (known && (await holdLock(known))) return known;
    const id = uuid();
    await holdLock(id);
    sessionStorage.setItem(SESSION_KEY, id);
    return id;
}

/** Forget this tab's session: it was ended, the next page load begins a new one. */
export function forgetSession() {
    globalThis.sessionStorage?.removeItem(SESSION_KEY);
}

/** @param {string} symbol @param {string} timeframe */
const pairOf = (symbol, timeframe) => `${symbol}|${timeframe}`;

function csrfToken() {
    const cookie = document.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/);
    return cookie ? decodeURIComponent(cookie[1]) : "";
}

export class StocksBlitzClient {
    /** @type {Stats} */
    stats = { frames: 0, lagged: 0, gaps: 0, duplicates: 0, reconnects: 0 };
    /** @type {State} */
    state = { state: "closed", code: 0, reason: "", retryInMs: 0, attempt: 0 };
    sessionId = "";

    /** @type {Options} */ #options;
    /** @type {WebSocket | null} */ #socket = null;
    /** @type {Map<string, Set<(payload: any) => void>>} */ #listeners = new Map();
    /** @type {Map<string, Stream>} */ #streams = new Map();
    /** @type {Map<number, Request>} */ #requests = new Map();
    /** Requests that were confirmed and wait for their snapshot, oldest first, by pair.
     * @type {Map<string, Request[]>} */ #joining = new Map();
    /** @type {string[]} */ #outbox = [];
    #budget = BURST;
    #nextId = 1;
    #attempt = 0;
    #generation = 0;
    #heardAt = 0;
    #heartbeatMs = 30_000;
    #renewedSession = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #steadyTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #beatTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #aliveTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #budgetTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #renewTimer;
    /** @type {PromiseWithResolversLike | null} */ #connecting = null;

    /** @param {Options} [options] */
    constructor(options = {}) {
        this.#options = options;
        this.sessionId = options.sessionId ?? "";
    }

    /** Listen; the returned function stops listening.
     * @template {keyof EventMap} K @param {K} event @param {(payload: EventMap[K]) => void} listener @returns {() => void} */
    on(event, listener) {
        const listeners = this.#listeners.get(event) ?? new Set();
        this.#listeners.set(event, listeners.add(listener));
        return () => void listeners.delete(listener);
    }

    /** Open the connection. Resolves when live; rejects only when the server says to stay away. @returns {Promise<void>} */
    connect() {
        if (this.#connecting) return this.#connecting.promise;
        this.#connecting = withResolvers();
        this.#listenToPage(true);
        this.#attempt = 0;
        void this.#open("connecting");
        return this.#connecting.promise;
    }

    /** End this connection for good; the server forgets the session's subscriptions at once. */
    close() {
        this.#hangUp(1000, "closed by the page");
        this.#listenToPage(false);
        this.#streams.clear();
        this.#failAll(new ClientError("closed", "the client was closed"));
        this.#enter("closed");
    }

    /** Add indicators (possibly none: bars, Greeks and open interest alone) of a pair to this session. Resolves with the
     * snapshot; rejects with a ClientError, and then nothing of it was done.
     * @param {string} symbol @param {string} timeframe @param {Indicators} [indicators]
     * @param {{history?: number}} [options] history: closed bars wanted in the snapshot @returns {Promise<Snapshot>} */
    subscribe(symbol, timeframe, indicators = [], { history = 0 } = {}) {
        const message = { type: "subscribe", symbol, timeframe, indicators };
        return this.#request(history > 0 ? { ...message, history } : message);
    }

    /** Drop indicators of a pair, a whole pair, a whole symbol, or everything.
     * @param {string} [symbol] @param {string} [timeframe] @param {string[]} [indicators] */
    unsubscribe(symbol, timeframe, indicators) {
        this.#forget(symbol, timeframe, indicators);
        const message = { type: "unsubscribe", symbol, timeframe, indicators };
        return this.#request(JSON.parse(JSON.stringify(message)));
    }

    /** What the server holds for this session. @returns {Promise<Record<string, any>[]>} */
    async list() {
        return (await this.#request({ type: "list" })).subscriptions;
    }

    /** Replace the token before it expires. @param {string} token */
    authenticate(token) {
        return this.#request({ type: "authenticate", token });
    }

    // --- connection --------------------------------------------------------------------------------------------------

    /** @param {StateName} state */
    async #open(state) {
        const generation = ++this.#generation;
        this.#enter(state, { attempt: this.#attempt });
        try {
            this.sessionId ||= await claimSession();
            const url = await this.#socketUrl();
            if (generation !== this.#generation) return;
            this.#attach(new WebSocket(url));
        } catch (error) {
            if (generation !== this.#generation) return;
            this.#lost(error instanceof ClientError && !error.retryable ? 4501 : 1006, String(error));
        }
    }

    /** @returns {Promise<string>} */
    async #socketUrl() {
        const base = this.#options.url ?? globalThis.location.origin;
        const url = new URL("/ws/indicators", base);
        url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
        url.searchParams.set("session_id", this.sessionId);
        if (this.#options.token) url.searchParams.set("token", await this.#token());
        else url.searchParams.set("ticket", await this.#ticket(base));
        return url.href;
    }

    /** @returns {Promise<string>} */
    async #token() {
        const { token } = this.#options;
        return typeof token === "function" ? token() : (token ?? "");
    }

    /** A one-time ticket for the socket, against the cookie login. @param {string} base @returns {Promise<string>} */
    async #ticket(base) {
        const reply = await fetch(new URL("/auth/ws-ticket", base), {
            method: "POST",
            credentials: "same-origin",
            headers: { "X-CSRFToken": csrfToken(), Accept: "application/json" },
            signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
        });
        if (reply.ok) return (await reply.json()).ticket;
        const refused = reply.status === 401 || reply.status === 403;
        throw new ClientError(refused ? "not_authenticated" : "unavailable", `no ticket (HTTP ${reply.status})`, !refused);
    }

    /** @param {WebSocket} socket */
    #attach(socket) {
        this.#socket = socket;
        socket.onmessage = (event) => {
            if (socket === this.#socket) this.#receive(event.data);
        };
        socket.onclose = (event) => {
            if (socket === this.#socket) this.#lost(event.code, event.reason);
        };
    }

    /** The connection is gone: come back, or stop when the code says so. @param {number} code @param {string} reason */
    #lost(code, reason) {
        this.#hangUp(4000, "");
        this.#putBack();
        if (code === 4508) this.#forgetSession();
        if (isFinal(code) && !this.#tryNewSession(code)) return this.#stop(code, reason);
        const hint = code === 1012 ? Number(/jitter_ms=(\d+)/.exec(reason)?.[1]) : NaN;
        const retryInMs = Number.isFinite(hint) ? Math.round(Math.random() * hint) : backoff(this.#attempt);
        this.#attempt += 1;
        this.stats.reconnects += 1;
        this.#enter("reconnecting", { code, reason: reason || REASONS[code] || "connection lost", retryInMs, attempt: this.#attempt });
        this.#retryTimer = setTimeout(() => void this.#open("connecting"), retryInMs);
    }

    /** @param {number} code @param {string} reason */
    #stop(code, reason) {
        const why = REASONS[code] ?? reason;
        this.#listenToPage(false);
        this.#failAll(new ClientError("stopped", why));
        this.#enter("stopped", { code, reason: why });
        this.#connecting?.reject(new ClientError("stopped", why));
        this.#connecting = null;
    }

    #forgetSession() {
        if (this.#options.sessionId) return;
        forgetSession();
        this.sessionId = "";
    }

    /** A tab may remember a session that was ended while it slept: begin a new one, once. @param {number} code */
    #tryNewSession(code) {
        if (code !== 4508 || this.#options.sessionId || this.#renewedSession || this.stats.frames || this.#streams.size) return false;
        return (this.#renewedSession = true);
    }

    /** Let go of the socket without waiting for its closing handshake. @param {number} code @param {string} reason */
    #hangUp(code, reason) {
        this.#generation += 1;
        for (const timer of [this.#retryTimer, this.#steadyTimer, this.#beatTimer, this.#aliveTimer, this.#budgetTimer, this.#renewTimer]) {
            clearTimeout(timer);
        }
        this.#steadyTimer = this.#aliveTimer = this.#budgetTimer = undefined;
        this.#budget = BURST;
        this.#outbox = [];
        const socket = this.#socket;
        this.#socket = null;
        if (socket && socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
    }

    /** @param {StateName} state @param {Partial<State>} [details] */
    #enter(state, details = {}) {
        this.state = { state, code: 0, reason: "", retryInMs: 0, attempt: 0, ...details };
        if (state === "closed") this.#connecting = null;
        this.#emit("state", this.state);
    }

    // --- life of the page --------------------------------------------------------------------------------------------

    #onVisible = () => {
        if (document.visibilityState === "visible") this.#wake();
    };
    #onOnline = () => this.#wake();

    /** @param {boolean} on */
    #listenToPage(on) {
        if (typeof document === "undefined") return;
        const [page, network] = on
            ? [document.addEventListener.bind(document), window.addEventListener.bind(window)]
            : [document.removeEventListener.bind(document), window.removeEventListener.bind(window)];
        page("visibilitychange", this.#onVisible);
        network("online", this.#onOnline);
    }

    /** Somebody looks again, or the network is back: do not sit out a pause, do not trust a silent socket. */
    #wake() {
        if (this.state.state === "live") this.#beat();
        if (this.state.state !== "reconnecting") return;
        clearTimeout(this.#retryTimer);
        void this.#open("connecting");
    }

    /** A sign of life. Only a visible page judges the answer: a hidden one is throttled and would judge wrongly. */
    #beat() {
        clearTimeout(this.#beatTimer);
        this.#beatTimer = setTimeout(() => this.#beat(), this.#heartbeatMs);
        this.#send({ type: "heartbeat" });
        if (typeof document !== "undefined" && document.visibilityState !== "visible") return;
        const asked = performance.now();
        clearTimeout(this.#aliveTimer);
        this.#aliveTimer = setTimeout(() => {
            if (this.#heardAt < asked) this.#lost(1006, "no answer");
        }, ALIVE_WITHIN_MS);
    }

    // --- requests ----------------------------------------------------------------------------------------------------

    /** @param {Record<string, any>} message @param {boolean} [resume] @returns {Promise<any>} */
    #request(message, resume = false) {
        const id = this.#nextId++;
        return new Promise((resolve, reject) => {
            if (this.state.state === "stopped" || this.state.state === "closed") {
                return reject(new ClientError(this.state.state, this.state.reason || "not connected: call connect() first"));
            }
            const request = { message: { ...message, id }, resolve, reject, resume, timer: undefined };
            this.#requests.set(id, request);
            if (this.state.state === "live") this.#dispatch(request);
        });
    }

    /** @param {Request} request */
    #dispatch(request) {
        this.#send(request.message);
        request.timer = setTimeout(() => this.#timeOut(request), ANSWER_WITHIN_MS);
    }

    /** @param {Request} request */
    #timeOut(request) {
        this.#requests.delete(request.message.id);
        for (const waiting of this.#joining.values()) {
            if (waiting.includes(request)) waiting.splice(waiting.indexOf(request), 1);
        }
        request.reject(new ClientError("timeout", `no answer to ${request.message.type} within ${ANSWER_WITHIN_MS / 1000} s`, true));
    }

    /** After a lost socket: what the page asked for is asked again, what we asked ourselves is made anew. */
    #putBack() {
        for (const waiting of this.#joining.values()) {
            for (const request of waiting) this.#requests.set(request.message.id, request);
        }
        this.#joining.clear();
        for (const [id, request] of this.#requests) {
            clearTimeout(request.timer);
            request.timer = undefined;
            if (request.resume) this.#requests.delete(id);
        }
    }

    /** @param {ClientError} error */
    #failAll(error) {
        this.#putBack();
        const requests = [...this.#requests.values()];
        this.#requests.clear();
        requests.forEach((request) => request.reject(error));
    }

    /** @param {Record<string, any>} message */
    #send(message) {
        this.#outbox.push(JSON.stringify(message));
        this.#flush();
    }

    #flush() {
        while (this.#outbox.length && this.#budget > 0 && this.#socket?.readyState === WebSocket.OPEN) {
            this.#socket.send(/** @type {string} */ (this.#outbox.shift()));
            this.#budget -= 1;
        }
        this.#budgetTimer ??= setTimeout(() => {
            this.#budgetTimer = undefined;
            const spent = this.#budget < BURST;
            this.#budget = BURST;
            if (spent && this.#outbox.length) this.#flush();
        }, BURST_EVERY_MS);
    }

    // --- messages ----------------------------------------------------------------------------------------------------

    /** @param {string} text */
    #receive(text) {
        this.#heardAt = performance.now();
        const message = JSON.parse(text);
        switch (message.type) {
            case "market_update":
                return this.#onUpdate(message);
            case "snapshot":
                return this.#onSnapshot(message);
            case "lagged":
                return this.#onLagged(message);
            case "connected":
                return this.#onConnected(message);
            case "subscribed":
                return this.#onSubscribed(message);
            case "error":
                return this.#onError(message);
            case "unsubscribed":
                this.#onUnsubscribed(message);
                break;
            case "authenticated":
                this.#renewBefore(message.expires_at);
        }
        this.#take(message.id)?.resolve(message);
    }

    /** @param {{heartbeat_ms: number, expires_at: unknown, retained?: {symbol: string, timeframe: string, indicators: string[]}[]}} message */
    #onConnected(message) {
        this.#heartbeatMs = message.heartbeat_ms || this.#heartbeatMs;
        this.#heardAt = performance.now();
        this.#steadyTimer = setTimeout(() => {
            this.#steadyTimer = undefined;
            this.#attempt = 0;
        }, STEADY_AFTER_MS);
        this.#beatTimer = setTimeout(() => this.#beat(), this.#heartbeatMs);
        this.#renewBefore(message.expires_at);
        this.#enter("live");
        this.#dropForgotten(message.retained ?? []);
        for (const stream of this.#streams.values()) this.#resume(stream);
        for (const request of [...this.#requests.values()]) if (!request.timer) this.#dispatch(request);
        this.#connecting?.resolve(undefined);
    }

    /** The server kept what an earlier page of this session had; what this one does not want goes.
     * @param {{symbol: string, timeframe: string, indicators: string[]}[]} retained */
    #dropForgotten(retained) {
        for (const { symbol, timeframe, indicators } of retained) {
            const stream = this.#streams.get(pairOf(symbol, timeframe));
            const extra = indicators.filter((id) => !stream?.indicators.has(id));
            if (!stream) this.#send({ type: "unsubscribe", symbol, timeframe });
            else if (extra.length) this.#send({ type: "unsubscribe", symbol, timeframe, indicators: extra });
        }
    }

    /** Subscribe a stream again, from the last closed bar that was seen. @param {Stream} stream */
    #resume(stream) {
        const { symbol, timeframe, indicators, lastClosed } = stream;
        const message = { type: "subscribe", symbol, timeframe, indicators: [...indicators] };
        if (stream.bars && indicators.size) this.#request({ ...message, indicators: [] }, true).catch(() => {});
        this.#request(lastClosed ? { ...message, since_bar: lastClosed } : message, true).catch((error) => {
            if (this.#streams.get(pairOf(symbol, timeframe)) !== stream) return;
            this.#emit("error", error);
            if (!error.retryable) this.#streams.delete(pairOf(symbol, timeframe));
            else setTimeout(() => this.state.state === "live" && this.#resume(stream), RESUME_AGAIN_MS);
        });
    }

    /** @param {{id: number, symbol: string, timeframe: string, indicators: string[]}} message */
    #onSubscribed(message) {
        const pair = pairOf(message.symbol, message.timeframe);
        const request = this.#requests.get(message.id);
        if (!request) return;
        this.#requests.delete(message.id);
        this.#joining.set(pair, [...(this.#joining.get(pair) ?? []), request]);
        const { symbol, timeframe } = message;
        const stream = this.#streams.get(pair) ?? { symbol, timeframe, indicators: new Set(), bars: false, lastClosed: 0, epoch: "", seq: 0 };
        stream.indicators = new Set(message.indicators);
        stream.bars ||= Object.keys(request.message.indicators).length === 0;
        this.#streams.set(pair, stream);
    }

    /** @param {string} [symbol] @param {string} [timeframe] @param {string[]} [indicators] */
    #forget(symbol, timeframe, indicators) {
        for (const [pair, stream] of this.#streams) {
            if ((symbol && stream.symbol !== symbol) || (timeframe && stream.timeframe !== timeframe)) continue;
            indicators?.forEach((id) => stream.indicators.delete(id));
            if (!indicators || (!stream.indicators.size && !stream.bars)) this.#streams.delete(pair);
        }
    }

    /** Forgotten once more: a reply to an earlier subscribe may have come in between. @param {{id: number}} reply */
    #onUnsubscribed({ id }) {
        const asked = this.#requests.get(id)?.message;
        if (asked) this.#forget(asked.symbol, asked.timeframe, asked.indicators);
    }

    /** @param {Snapshot} message */
    #onSnapshot(message) {
        const pair = pairOf(message.symbol, message.timeframe);
        const request = this.#joining.get(pair)?.shift();
        const stream = this.#streams.get(pair);
        if (stream) this.#position(stream, message);
        const snapshot = { ...message, resumed: Boolean(request?.resume), requested: request?.resume === false };
        clearTimeout(request?.timer);
        if (stream) this.#emit("snapshot", snapshot);
        request?.resolve(snapshot);
    }

    /** @param {Stream} stream @param {Snapshot} message */
    #position(stream, message) {
        stream.epoch = message.epoch;
        stream.seq = message.seq;
        const closed = message.history?.bars.at(-1)?.[0] ?? 0;
        const bar = message.ohlcv;
        stream.lastClosed = Math.max(stream.lastClosed, closed, bar ? (bar.closed ? bar.ts : bar.ts - 1) : 0);
    }

    /** @param {Update} message */
    #onUpdate(message) {
        const stream = this.#streams.get(pairOf(message.symbol, message.timeframe));
        if (!stream) return;
        if (message.epoch === stream.epoch && message.seq <= stream.seq) return void (this.stats.duplicates += 1);
        if (message.epoch === stream.epoch && message.seq > stream.seq + 1) this.#onGap(stream, message.seq);
        stream.epoch = message.epoch;
        stream.seq = message.seq;
        if (message.ohlcv?.closed) stream.lastClosed = Math.max(stream.lastClosed, message.ohlcv.ts);
        this.stats.frames += 1;
        this.#emit("update", message);
    }

    /** Frames are missing that no `lagged` named: count them, tell, and fetch what closed meanwhile.
     * @param {Stream} stream @param {number} got */
    #onGap(stream, got) {
        const { symbol, timeframe, seq } = stream;
        this.stats.gaps += got - seq - 1;
        this.#emit("gap", { symbol, timeframe, expected: seq + 1, got });
        this.#resume(stream);
    }

    /** @param {EventMap["lagged"]} message */
    #onLagged(message) {
        const stream = this.#streams.get(pairOf(message.symbol, message.timeframe));
        this.stats.lagged += message.to_seq - message.from_seq + 1;
        if (stream && message.from_seq <= stream.seq + 1) stream.seq = Math.max(stream.seq, message.to_seq);
        this.#emit("lagged", message);
    }

    /** @param {{id?: number | null, code: string, message: string, retryable: boolean}} message */
    #onError(message) {
        const error = new ClientError(message.code, message.message, message.retryable);
        const request = this.#take(message.id);
        if (request) request.reject(error);
        else this.#emit("error", error);
    }

    /** @param {number | null | undefined} id */
    #take(id) {
        const request = this.#requests.get(Number(id));
        if (!request) return undefined;
        this.#requests.delete(Number(id));
        clearTimeout(request.timer);
        return request;
    }

    /** A token that can be renewed is renewed a minute before it expires. @param {unknown} expiresAt ms or ISO 8601 */
    #renewBefore(expiresAt) {
        clearTimeout(this.#renewTimer);
        if (typeof this.#options.token !== "function" || !expiresAt) return;
        const at = typeof expiresAt === "number" ? expiresAt : Date.parse(String(expiresAt));
        const inMs = Math.min(Math.max(at - Date.now() - 60_000, 1_000), 2 ** 31 - 1);
        this.#renewTimer = setTimeout(async () => {
            await this.authenticate(await this.#token()).catch((error) => this.#emit("error", error));
        }, inMs);
    }

    /** @template {keyof EventMap} K @param {K} event @param {EventMap[K]} payload */
    #emit(event, payload) {
        for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(payload);
    }
}

/** @typedef {{promise: Promise<any>, resolve: (value: any) => void, reject: (error: Error) => void}} PromiseWithResolversLike */

/** @returns {PromiseWithResolversLike} */
function withResolvers() {
    /** @type {any} */
    const parts = {};
    parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
    parts.promise.catch(() => {}); // connect() may be called without waiting for it
    return parts;
}
