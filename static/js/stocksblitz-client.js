// @ts-check
/**
 * Browser client of StocksBlitz: each tab has its own session and receives exactly the indicators that it subscribed to.
 *
 *     import { StocksBlitzClient } from "/static/js/stocksblitz-client.js";
 *     const client = new StocksBlitzClient();                       // cookie login; or { token: "…" }
 *     client.on("update", (m) => console.log(m.symbol, m.ohlcv.close, m.indicators));
 *     await client.connect();
 *     const snapshot = await client.subscribe("NIFTY50", "5min", ["RSI_14", "MACD_12_26_9"], { history: 300 });
 *
 * Subscriptions survive lost connections: the client reconnects, requests the bars that have closed in the meantime
 * (`since_bar`) and emits the snapshot with `resumed: true`. The parts of the client are in `client/`.
 *
 * @module
 */
import { SESSION_ENDED, isFinal, pauseAfter, reasonOf } from "./client/close_codes.js";
import { ClientError } from "./client/errors.js";
import { freshToken, socketUrl } from "./client/login.js";
import { SendQueue } from "./client/send_queue.js";
import { Heartbeat, onWake } from "./client/heartbeat.js";
import { Requests } from "./client/requests.js";
import { claimSession, forgetSession } from "./client/session.js";
import { Streams, streamKey } from "./client/streams.js";

export { ClientError };

/** @typedef {import("./client/types.js").EventMap} EventMap */
/** @typedef {import("./client/types.js").Options} Options */
/** @typedef {import("./client/types.js").Snapshot} Snapshot */
/** @typedef {import("./client/types.js").State} State */
/** @typedef {import("./client/types.js").Subscription} Subscription */
/** @typedef {import("./client/types.js").Timer} Timer */
/** @typedef {import("./client/streams.js").Stream} Stream */

/** After a connection of this duration the pause before the next attempt is short again. */
const STEADY_AFTER_MS = 5_000;
const RESUME_AGAIN_MS = 2_000;
const RENEW_BEFORE_MS = 60_000;
/** The longest delay that setTimeout accepts. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/** Connection of one session, which reconnects and resumes its streams on its own. */
export class StocksBlitzClient {
    /** @type {import("./client/types.js").Stats} */
    stats = { frames: 0, lagged: 0, gaps: 0, duplicates: 0, reconnects: 0 };
    /** @type {State} */
    state = { state: "closed", code: 0, reason: "", retryInMs: 0, attempt: 0 };
    sessionId = "";

    /** @type {Options} */ #options;
    /** @type {WebSocket | null} */ #socket = null;
    /** @type {Map<string, Set<(payload: any) => void>>} */ #listeners = new Map();
    #streams = new Streams();
    #sendQueue = new SendQueue();
    #requests = new Requests((message) => this.#sendQueue.send(message));
    #heartbeat = new Heartbeat(
        () => this.#sendQueue.send({ type: "heartbeat" }),
        () => this.#lost(1006, "no answer"),
    );
    #attempt = 0;
    /** Number of the current attempt to open a socket; an older attempt that is still running ends itself. */
    #generation = 0;
    #renewedSession = false;
    /** @type {Timer} */ #retryTimer;
    /** @type {Timer} */ #steadyTimer;
    /** @type {Timer} */ #renewTimer;
    /** @type {ReturnType<typeof withResolvers> | null} */ #connecting = null;
    #stopListening = () => {};

    /** @param {Options} [options] */
    constructor(options = {}) {
        this.#options = options;
        this.sessionId = options.sessionId ?? "";
    }

    /** Call the listener at each event; the returned function stops that.
     * @template {keyof EventMap} K @param {K} event @param {(payload: EventMap[K]) => void} listener @returns {() => void} */
    on(event, listener) {
        const listeners = this.#listeners.get(event) ?? new Set();
        this.#listeners.set(event, listeners.add(listener));
        return () => void listeners.delete(listener);
    }

    /** Open the connection. Resolves when it is live; rejects only after a final close code. @returns {Promise<void>} */
    connect() {
        if (this.#connecting) return this.#connecting.promise;
        this.#connecting = withResolvers();
        this.#stopListening = onWake(() => this.#wake());
        this.#attempt = 0;
        void this.#open();
        return this.#connecting.promise;
    }

    /** Close the connection for good; the server then removes the session's subscriptions at once. */
    close() {
        this.#closeSocket(1000, "closed by the page");
        this.#stopListening();
        this.#streams.forget();
        this.#requests.failAll(new ClientError("closed", "the client was closed"));
        this.#connecting = null;
        this.#enter("closed");
    }

    /** Subscribe this session to indicators of a stream; without indicators it receives bars, Greeks and open interest alone.
     * Resolves with the snapshot. Rejects with a ClientError, and then nothing has changed.
     * @param {string} symbol @param {string} timeframe @param {import("./client/types.js").Indicators} [indicators]
     * @param {{history?: number}} [options] history: number of closed bars in the snapshot @returns {Promise<Snapshot>} */
    subscribe(symbol, timeframe, indicators = [], { history = 0 } = {}) {
        const message = { type: "subscribe", symbol, timeframe, indicators };
        return this.#request(history > 0 ? { ...message, history } : message);
    }

    /** Unsubscribe from indicators of a stream, a whole stream, a whole symbol, or everything.
     * @param {string} [symbol] @param {string} [timeframe] @param {string[]} [indicators] */
    unsubscribe(symbol, timeframe, indicators) {
        this.#streams.forget(symbol, timeframe, indicators);
        return this.#request({ type: "unsubscribe", symbol, timeframe, indicators });
    }

    /** Read this session's subscriptions from the server. @returns {Promise<Record<string, any>[]>} */
    async list() {
        return (await this.#request({ type: "list" })).subscriptions;
    }

    /** Replace the token before it expires. @param {string} token */
    authenticate(token) {
        return this.#request({ type: "authenticate", token });
    }

    // --- connection --------------------------------------------------------------------------------------------------

    async #open() {
        const generation = ++this.#generation;
        this.#enter("connecting", { attempt: this.#attempt });
        try {
            this.sessionId ||= await claimSession();
            const url = await socketUrl(this.#options, this.sessionId);
            if (generation === this.#generation) this.#attach(new WebSocket(url));
        } catch (error) {
            if (generation !== this.#generation) return;
            this.#lost(error instanceof ClientError && !error.retryable ? 4501 : 1006, String(error));
        }
    }

    /** @param {WebSocket} socket */
    #attach(socket) {
        this.#socket = socket;
        this.#sendQueue.open(socket);
        socket.onmessage = (event) => {
            if (socket === this.#socket) this.#receive(event.data);
        };
        socket.onclose = (event) => {
            if (socket === this.#socket) this.#lost(event.code, event.reason);
        };
    }

    /** After a lost connection, reconnect, or stop when the close code is final. @param {number} code @param {string} reason */
    #lost(code, reason) {
        this.#closeSocket(4000, "");
        this.#requests.putBack();
        const fresh = code === SESSION_ENDED && this.#leaveSession();
        if (isFinal(code) && !fresh) return this.#stop(code, reason);
        const retryInMs = pauseAfter(code, reason, this.#attempt);
        this.#attempt += 1;
        this.stats.reconnects += 1;
        this.#enter("reconnecting", { code, reason: reason || reasonOf(code) || "connection lost", retryInMs, attempt: this.#attempt });
        this.#retryTimer = setTimeout(() => void this.#open(), retryInMs);
    }

    /** @param {number} code @param {string} reason */
    #stop(code, reason) {
        const why = reasonOf(code) ?? reason;
        this.#stopListening();
        this.#requests.failAll(new ClientError("stopped", why));
        this.#enter("stopped", { code, reason: why });
        this.#connecting?.reject(new ClientError("stopped", why));
        this.#connecting = null;
    }

    /** Give up the ended session. Return whether to continue with a new one, which happens once, for a tab that slept while
     * its session ended. */
    #leaveSession() {
        if (this.#options.sessionId) return false;
        forgetSession();
        this.sessionId = "";
        if (this.#renewedSession || this.stats.frames || this.#streams.size) return false;
        return (this.#renewedSession = true);
    }

    /** Close the socket without waiting for its closing handshake. @param {number} code @param {string} reason */
    #closeSocket(code, reason) {
        this.#generation += 1;
        for (const timer of [this.#retryTimer, this.#steadyTimer, this.#renewTimer]) clearTimeout(timer);
        this.#heartbeat.stop();
        this.#sendQueue.close();
        const socket = this.#socket;
        this.#socket = null;
        if (socket && socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
    }

    /** End a pause early, and check a live connection with a heartbeat. */
    #wake() {
        if (this.state.state === "live") this.#heartbeat.beat();
        if (this.state.state !== "reconnecting") return;
        clearTimeout(this.#retryTimer);
        void this.#open();
    }

    /** @param {State["state"]} state @param {Partial<State>} [details] */
    #enter(state, details = {}) {
        this.state = { state, code: 0, reason: "", retryInMs: 0, attempt: 0, ...details };
        this.#emit("state", this.state);
    }

    // --- requests ----------------------------------------------------------------------------------------------------

    /** @param {Record<string, any>} message @param {boolean} [resume] @returns {Promise<any>} */
    async #request(message, resume = false) {
        const { state, reason } = this.state;
        if (state === "stopped" || state === "closed") {
            throw new ClientError(state, reason || "not connected: call connect() first");
        }
        return this.#requests.add(message, { resume, now: state === "live" });
    }

    /** Subscribe to a stream again, from the last closed bar that was received. @param {Stream} stream */
    #resume(stream) {
        const { symbol, timeframe, indicators, lastClosed } = stream;
        const message = { type: "subscribe", symbol, timeframe, indicators: [...indicators] };
        if (stream.bars && indicators.size) this.#request({ ...message, indicators: [] }, true).catch(() => {});
        this.#request(lastClosed ? { ...message, since_bar: lastClosed } : message, true).catch((error) => {
            if (this.#streams.get(stream) !== stream) return;
            this.#emit("error", error);
            if (!error.retryable) this.#streams.forget(symbol, timeframe);
            else setTimeout(() => this.state.state === "live" && this.#resume(stream), RESUME_AGAIN_MS);
        });
    }

    /** Unsubscribe from everything that an earlier page of this session had subscribed to and this page has not.
     * @param {Subscription[]} retained */
    #dropForgotten(retained) {
        for (const { symbol, timeframe, indicators } of retained) {
            const stream = this.#streams.get({ symbol, timeframe });
            const extra = indicators.filter((id) => !stream?.indicators.has(id));
            if (!stream) this.#sendQueue.send({ type: "unsubscribe", symbol, timeframe });
            else if (extra.length) this.#sendQueue.send({ type: "unsubscribe", symbol, timeframe, indicators: extra });
        }
    }

    /** Renew the token a minute before it expires, if a function provides it. @param {unknown} expiresAt ms or ISO 8601 */
    #renewBefore(expiresAt) {
        const { token } = this.#options;
        clearTimeout(this.#renewTimer);
        if (typeof token !== "function" || !expiresAt) return;
        const at = typeof expiresAt === "number" ? expiresAt : Date.parse(String(expiresAt));
        const inMs = Math.min(Math.max(at - Date.now() - RENEW_BEFORE_MS, 1_000), LONGEST_TIMEOUT_MS);
        this.#renewTimer = setTimeout(async () => {
            await this.authenticate(await freshToken(token)).catch((error) => this.#emit("error", error));
        }, inMs);
    }

    // --- messages ----------------------------------------------------------------------------------------------------

    /** @param {string} text */
    #receive(text) {
        this.#heartbeat.heard();
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
        this.#requests.take(message.id)?.resolve(message);
    }

    /** @param {{heartbeat_ms: number, expires_at: unknown, retained?: Subscription[]}} message */
    #onConnected(message) {
        this.#steadyTimer = setTimeout(() => (this.#attempt = 0), STEADY_AFTER_MS);
        this.#heartbeat.start(message.heartbeat_ms);
        this.#renewBefore(message.expires_at);
        this.#enter("live");
        this.#dropForgotten(message.retained ?? []);
        this.#streams.values().forEach((stream) => this.#resume(stream));
        this.#requests.sendWaiting();
        this.#connecting?.resolve(undefined);
    }

    /** @param {Subscription & {id: number}} message */
    #onSubscribed(message) {
        const request = this.#requests.confirm(message.id, streamKey(message));
        if (request) this.#streams.confirm(message, Object.keys(request.message.indicators).length === 0);
    }

    /** Forget the streams a second time, because the reply to an earlier subscribe may have added them again. @param {{id: number}} reply */
    #onUnsubscribed({ id }) {
        const message = this.#requests.get(id)?.message;
        if (message) this.#streams.forget(message.symbol, message.timeframe, message.indicators);
    }

    /** @param {Snapshot} message */
    #onSnapshot(message) {
        const request = this.#requests.takeConfirmed(streamKey(message));
        const stream = this.#streams.get(message);
        const snapshot = { ...message, resumed: Boolean(request?.resume), requested: request?.resume === false };
        stream?.begin(message);
        if (stream) this.#emit("snapshot", snapshot);
        request?.resolve(snapshot);
    }

    /** @param {EventMap["update"]} message */
    #onUpdate(message) {
        const stream = this.#streams.get(message);
        if (!stream) return;
        const missing = stream.missingBefore(message);
        if (missing < 0) return void (this.stats.duplicates += 1);
        if (missing) this.#onGap(stream, missing);
        stream.advance(message);
        this.stats.frames += 1;
        this.#emit("update", message);
    }

    /** Count missing frames that no `lagged` message named, announce them, and fetch the bars that have closed.
     * @param {Stream} stream @param {number} missing */
    #onGap(stream, missing) {
        const { symbol, timeframe, seq } = stream;
        this.stats.gaps += missing;
        this.#emit("gap", { symbol, timeframe, expected: seq + 1, got: seq + 1 + missing });
        this.#resume(stream);
    }

    /** @param {EventMap["lagged"]} message */
    #onLagged(message) {
        this.stats.lagged += message.to_seq - message.from_seq + 1;
        this.#streams.get(message)?.skip(message);
        this.#emit("lagged", message);
    }

    /** @param {{id?: number | null, code: string, message: string, retryable: boolean}} message */
    #onError(message) {
        const error = new ClientError(message.code, message.message, message.retryable);
        const request = this.#requests.take(message.id);
        if (request) request.reject(error);
        else this.#emit("error", error);
    }

    /** @template {keyof EventMap} K @param {K} event @param {EventMap[K]} payload */
    #emit(event, payload) {
        for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(payload);
    }
}

function withResolvers() {
    /** @type {{promise: Promise<any>, resolve: (value: any) => void, reject: (error: Error) => void}} */
    const parts = Object.create(null);
    parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
    parts.promise.catch(() => {}); // connect() may be called without waiting for it
    return parts;
}
