// @ts-check

/** The server closes at 50 messages a second; a client with many streams spreads its subscriptions. */
const BURST = 25;
const BURST_EVERY_MS = 1_000;

/** Queue of messages to the server: in order, and no faster than the server accepts. */
export class SendQueue {
    /** @type {string[]} */ #waiting = [];
    /** @type {WebSocket | null} */ #socket = null;
    /** @type {import("./types.js").Timer} */ #timer;
    #budget = BURST;

    /** @param {WebSocket} socket */
    open(socket) {
        this.#socket = socket;
    }

    /** Drop what still waits: it was meant for this connection. */
    close() {
        clearTimeout(this.#timer);
        this.#timer = undefined;
        this.#socket = null;
        this.#budget = BURST;
        this.#waiting = [];
    }

    /** @param {Record<string, any>} message */
    send(message) {
        this.#waiting.push(JSON.stringify(message));
        this.#flush();
    }

    #flush() {
        while (this.#waiting.length && this.#budget > 0 && this.#socket?.readyState === WebSocket.OPEN) {
            this.#socket.send(/** @type {string} */ (this.#waiting.shift()));
            this.#budget -= 1;
        }
        this.#timer ??= setTimeout(() => {
            this.#timer = undefined;
            this.#budget = BURST;
            if (this.#waiting.length) this.#flush();
        }, BURST_EVERY_MS);
    }
}
