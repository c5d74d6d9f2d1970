// @ts-check
import { ClientError } from "./errors.js";

const ANSWER_WITHIN_MS = 20_000;

/**
 * @typedef {object} Request
 * @property {Record<string, any>} message
 * @property {(value: any) => void} resolve
 * @property {(error: ClientError) => void} reject
 * @property {boolean} resume the client itself made it to continue a stream; it is dropped with the socket
 * @property {import("./types.js").Timer} timer runs from when it was sent
 */

/** Requests without an answer yet. A subscribe has two answers: `subscribed` confirms it, and its snapshot follows. */
export class Requests {
    /** @type {Map<number, Request>} */ #unanswered = new Map();
    /** Confirmed, waiting for their snapshot, oldest first, by stream. @type {Map<string, Request[]>} */ #confirmed = new Map();
    #nextId = 1;

    /** @param {(message: Record<string, any>) => void} send */
    constructor(send) {
        this.send = send;
    }

    /** @param {Record<string, any>} message @param {{resume: boolean, now: boolean}} how now: send at once, else `sendWaiting` sends it
     * @returns {Promise<any>} */
    add(message, { resume, now }) {
        const id = this.#nextId++;
        return new Promise((resolve, reject) => {
            const request = { message: { ...message, id }, resolve, reject, resume, timer: undefined };
            this.#unanswered.set(id, request);
            if (now) this.#send(request);
        });
    }

    sendWaiting() {
        for (const request of [...this.#unanswered.values()]) if (!request.timer) this.#send(request);
    }

    /** @param {number | null | undefined} id */
    get(id) {
        return this.#unanswered.get(Number(id));
    }

    /** Remove the request whose answer came. @param {number | null | undefined} id */
    take(id) {
        const request = this.get(id);
        this.#unanswered.delete(Number(id));
        clearTimeout(request?.timer);
        return request;
    }

    /** @param {number} id @param {string} pair */
    confirm(id, pair) {
        const request = this.#unanswered.get(id);
        if (!request) return undefined;
        this.#unanswered.delete(id);
        this.#confirmed.set(pair, [...(this.#confirmed.get(pair) ?? []), request]);
        return request;
    }

    /** Remove the oldest confirmed request of the stream, for which this snapshot is. @param {string} pair */
    join(pair) {
        const request = this.#confirmed.get(pair)?.shift();
        clearTimeout(request?.timer);
        return request;
    }

    /** After a lost socket: keep the page's requests to send them again, and drop those that resume a stream. */
    putBack() {
        for (const waiting of this.#confirmed.values()) {
            for (const request of waiting) this.#unanswered.set(request.message.id, request);
        }
        this.#confirmed.clear();
        for (const [id, request] of this.#unanswered) {
            clearTimeout(request.timer);
            request.timer = undefined;
            if (request.resume) this.#unanswered.delete(id);
        }
    }

    /** @param {ClientError} error */
    failAll(error) {
        this.putBack();
        const requests = [...this.#unanswered.values()];
        this.#unanswered.clear();
        requests.forEach((request) => request.reject(error));
    }

    /** @param {Request} request */
    #send(request) {
        this.send(request.message);
        request.timer = setTimeout(() => this.#timeOut(request), ANSWER_WITHIN_MS);
    }

    /** @param {Request} request */
    #timeOut(request) {
        this.#unanswered.delete(request.message.id);
        for (const waiting of this.#confirmed.values()) {
            if (waiting.includes(request)) waiting.splice(waiting.indexOf(request), 1);
        }
        request.reject(new ClientError("timeout", `no answer to ${request.message.type} within ${ANSWER_WITHIN_MS / 1000} s`, true));
    }
}
