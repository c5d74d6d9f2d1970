// @ts-check

/** Messages per second, half of what the server allows: a client with many streams sends its subscriptions over several seconds. */
const BURST = 25;
const BURST_EVERY_MS = 1_000;

/** Queue of messages to the server, which sends them in order and no faster than the server accepts. */
export class SendQueue {
    /** @type {string[]} */ #waiting = [];
    /** @type {WebSocket | null} */ #socket = null;
    /** @type {import("./types.js").Timer} */ #timer;
    #budget = BURST;

    /** Send to this socket from now on. @param {WebSocket} socket */
    open(socket) {
        this.#socket = socket;
    }

    /** Drop the waiting messages, which were meant for the closed connection. */
    close() {
        clearTimeout(this.#timer);
        this.#timer = undefined;
        this.#socket = null;
        this.#budget = BURST;
        this.#waiting = [];
    }

    /** Send a message, now or as soon as the rate allows. @param {Record<string, any>} message */
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
