// @ts-check
/** The live socket of the portfolio: comes back by itself, and watches again what was watched. */
import { isFinal, pauseAfter, reasonOf } from "../client/close_codes.js";
import { onWake, Heartbeat } from "../client/heartbeat.js";
import { ClientError } from "../stocksblitz-client.js";
import { ticket } from "./api.js";

/** As if the server had closed with it: signed out meanwhile. */
const NOT_AUTHENTICATED = 4501;

/** @typedef {"connecting" | "live" | "reconnecting" | "stopped"} State */
/**
 * @typedef {object} Handlers
 * @property {(connection: {state: State, reason: string, code: number, retryInMs: number}) => void} onState
 * @property {(snapshot: import("./api.js").Snapshot) => void} onSnapshot
 * @property {(account: string, event: import("./api.js").Event) => void} onEvent
 */

export class PortfolioSocket {
    #handlers;
    /** @type {Set<string>} */ #watched = new Set();
    /** @type {WebSocket | null} */ #socket = null;
    /** @type {Map<string, [number, number]>} */ #seen = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
    #failures = 0;
    #heartbeat = new Heartbeat(
        () => this.#send({ type: "heartbeat" }),
        () => this.#lost(0, "no sign of life"),
    );

    /** @param {Handlers} handlers */
    constructor(handlers) {
        this.#handlers = handlers;
        onWake(() => this.#wake());
    }

    /** @param {string[]} accounts */
    watch(accounts) {
        const fresh = accounts.filter((account) => !this.#watched.has(account));
        fresh.forEach((account) => this.#watched.add(account));
        if (fresh.length) this.#send({ type: "watch", accounts: fresh });
    }

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

    /** @param {number} code @param {string} reason */
    #lost(code, reason) {
        const socket = this.#socket;
        this.#socket = null;
        this.#heartbeat.stop();
        socket?.close();
        const why = reasonOf(code) ?? (reason || "connection lost");
        if (isFinal(code)) return this.#show("stopped", why, code);
        const wait = pauseAfter(code, reason, this.#failures);
        this.#failures += 1;
        this.#retry = setTimeout(() => this.#comeBack(), wait);
        this.#show("reconnecting", why, code, wait);
    }

    #comeBack() {
        clearTimeout(this.#retry);
        this.#retry = undefined;
        void this.connect();
    }

    /** Somebody looks again, or the network is back: do not wait any longer, or see whether it still lives. */
    #wake() {
        if (this.#retry !== undefined) this.#comeBack();
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
            if (this.#isNews(message)) this.#handlers.onSnapshot(message);
        } else if (message.type === "margin_event") {
            this.#handlers.onEvent(message.account, message);
        }
    }

    /** Snapshots may come again after a reconnect; an older one never replaces a newer. @param {import("./api.js").Snapshot} message */
    #isNews({ account, epoch, version }) {
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
