// @ts-check
/** Live socket of the portfolio page, which reconnects on its own and then watches the same accounts again. */
import { isFinal, pauseAfter, reasonOf } from "../client/close_codes.js";
import { onWake, Heartbeat } from "../client/heartbeat.js";
import { ClientError } from "../stocksblitz-client.js";
import { ticket } from "./api.js";

/** Close code that is used when the user has been signed out before the socket opens. */
const NOT_AUTHENTICATED = 4501;

/** @typedef {"connecting" | "live" | "reconnecting" | "stopped"} State */
/**
 * @typedef {object} Handlers
 * @property {(connection: {state: State, reason: string, code: number, retryInMs: number}) => void} onState
 * @property {(snapshot: import("./api.js").Snapshot) => void} onSnapshot
 * @property {(account: string, event: import("./api.js").Event) => void} onEvent
 */

/** Socket that receives snapshots and events of the watched accounts. */
export class PortfolioSocket {
    #handlers;
    /** @type {Set<string>} */ #watched = new Set();
    /** @type {WebSocket | null} */ #socket = null;
    /** @type {Map<string, [number, number]>} */ #seen = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
    #failures = 0;
    #heartbeat = new Heartbeat(
        () => this.#send({ type: "heartbeat" }),
        () => this.#lost(0, "no answer"),
    );

    /** @param {Handlers} handlers */
    constructor(handlers) {
        this.#handlers = handlers;
        onWake(() => this.#wake());
    }

    /** Watch these accounts too. @param {string[]} accounts */
    watch(accounts) {
        const fresh = accounts.filter((account) => !this.#watched.has(account));
        fresh.forEach((account) => this.#watched.add(account));
        if (fresh.length) this.#send({ type: "watch", accounts: fresh });
    }

    /** Open the socket with a new ticket. */
    async connect() {
        this.#show("connecting");
        try {
            const url = new URL("/ws/portfolio", location.href);
            url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
            url.searchParams.set("ticket", await ticket());
            this.#open(new WebSocket(url));
        } catch (error) {
            const signedOut = error instanceof ClientError && ["not_authenticated", "forbidden"].includes(error.code);
            this.#lost(signedOut ? NOT_AUTHENTICATED : 0, error instanceof Error ? error.message : "");
        }
    }

    /** @param {WebSocket} socket */
    #open(socket) {
        this.#socket = socket;
        socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
        socket.addEventListener("close", (event) => socket === this.#socket && this.#lost(event.code, event.reason));
    }

    /** After a lost connection, plan the next attempt, or stop when the close code is final. @param {number} code @param {string} reason */
    #lost(code, reason) {
        const socket = this.#socket;
        this.#socket = null;
        this.#heartbeat.stop();
        socket?.close();
        const why = reasonOf(code) ?? (reason || "connection lost");
        if (isFinal(code)) return this.#show("stopped", why, code);
        const wait = pauseAfter(code, reason, this.#failures);
        this.#failures += 1;
        this.#retry = setTimeout(() => this.#reconnect(), wait);
        this.#show("reconnecting", why, code, wait);
    }

    #reconnect() {
        clearTimeout(this.#retry);
        this.#retry = undefined;
        void this.connect();
    }

    /** End a pause early when the page is visible or the network is back, and check a live connection with a heartbeat. */
    #wake() {
        if (this.#retry !== undefined) this.#reconnect();
        else if (this.#socket?.readyState === WebSocket.OPEN) this.#heartbeat.beat();
    }

    /** @param {State} state @param {string} [reason] @param {number} [code] @param {number} [retryInMs] */
    #show(state, reason = "", code = 0, retryInMs = 0) {
        this.#handlers.onState({ state, reason, code, retryInMs });
    }

    /** @param {any} message */
    #receive(message) {
        this.#heartbeat.heard();
        if (message.type === "connected") {
            this.#failures = 0;
            this.#heartbeat.start(message.heartbeat_ms);
            this.#show("live");
            if (this.#watched.size) this.#send({ type: "watch", accounts: [...this.#watched] });
        } else if (message.type === "portfolio_snapshot" || message.type === "portfolio_update") {
            if (this.#isNewer(message)) this.#handlers.onSnapshot(message);
        } else if (message.type === "margin_event") {
            this.#handlers.onEvent(message.account, message);
        }
    }

    /** Return whether a snapshot is not older than the last one, because snapshots may repeat after a reconnect.
     * @param {import("./api.js").Snapshot} message */
    #isNewer({ account, epoch, version }) {
        const [lastEpoch, lastVersion] = this.#seen.get(account) ?? [-1, -1];
        if (epoch < lastEpoch || (epoch === lastEpoch && version < lastVersion)) return false;
        this.#seen.set(account, [epoch, version]);
        return true;
    }

    /** @param {object} message */
    #send(message) {
        if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
    }
}
