// @ts-check
/** The live socket of the portfolio: comes back by itself, and watches again what was watched. */
import { backoff, isFinal } from "../client/closing.js";
import { ticket } from "./api.js";

const HEARTBEAT_MS = 25_000;

/** @typedef {"connecting" | "live" | "reconnecting" | "stopped"} State */
/**
 * @typedef {object} Handlers
 * @property {(state: State, reason: string) => void} onState
 * @property {(snapshot: import("./api.js").Snapshot) => void} onSnapshot
 * @property {(account: string, event: import("./api.js").Event) => void} onEvent
 */

export class PortfolioSocket {
    #handlers;
    /** @type {Set<string>} */ #watched = new Set();
    /** @type {WebSocket | null} */ #socket = null;
    /** @type {Map<string, [number, number]>} */ #seen = new Map();
    #failures = 0;

    /** @param {Handlers} handlers */
    constructor(handlers) {
        this.#handlers = handlers;
        setInterval(() => this.#send({ type: "heartbeat" }), HEARTBEAT_MS);
    }

    /** @param {string[]} accounts */
    watch(accounts) {
        const fresh = accounts.filter((account) => !this.#watched.has(account));
        fresh.forEach((account) => this.#watched.add(account));
        if (fresh.length) this.#send({ type: "watch", accounts: fresh });
    }

    async connect() {
        this.#handlers.onState(this.#failures ? "reconnecting" : "connecting", "");
        try {
            const url = new URL("/ws/portfolio", location.href);
            url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
            url.searchParams.set("ticket", await ticket());
            this.#open(new WebSocket(url));
        } catch (error) {
            this.#again(error instanceof Error ? error.message : "no ticket");
        }
    }

    /** @param {WebSocket} socket */
    #open(socket) {
        this.#socket = socket;
        socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
        socket.addEventListener("close", (event) => {
            this.#socket = null;
            if (isFinal(event.code)) this.#handlers.onState("stopped", event.reason);
            else this.#again(event.reason);
        });
    }

    /** @param {string} reason */
    #again(reason) {
        setTimeout(() => void this.connect(), backoff(this.#failures));
        this.#failures += 1;
        this.#handlers.onState("reconnecting", reason);
    }

    /** @param {any} message */
    #receive(message) {
        if (message.type === "connected") {
            this.#failures = 0;
            this.#handlers.onState("live", "");
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
