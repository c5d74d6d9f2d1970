// @ts-check
import { ClientError } from "./errors.js";

const ANSWER_WITHIN_MS = 20_000;

/**
 * @typedef {object} Request
 * @property {Record<string, any>} message
 * @property {(value: any) => void} resolve
 * @property {(error: ClientError) => void} reject
 * @property {boolean} resume made by the client itself to continue a stream; forgotten when the socket drops
 * @property {import("./types.js").Timer} timer runs from when it was sent
 */

/** What was asked and not answered yet. A subscribe has two answers: it is confirmed, then it joins with its snapshot. */
export class Requests {
    /** @type {Map<number, Request>} */ #asked = new Map();
    /** Confirmed, waiting for their snapshot, oldest first, by stream. @type {Map<string, Request[]>} */ #joining = new Map();
    #nextId = 1;

    /** @param {(message: Record<string, any>) => void} send */
    constructor(send) {
        this.send = send;
    }

    /** @param {Record<string, any>} message @param {{resume: boolean, now: boolean}} how now: else it waits for `sendWaiting`
     * @returns {Promise<any>} */
    add(message, { resume, now }) {
        const id = this.#nextId++;
        return new Promise((resolve, reject) => {
            const request = { message: { ...message, id }, resolve, reject, resume, timer: undefined };
            this.#asked.set(id, request);
            if (now) this.#send(request);
        });
    }

    sendWaiting() {
        for (const request of [...this.#asked.values()]) if (!request.timer) this.#send(request);
    }

    /** @param {number | null | undefined} id */
    get(id) {
        return this.#asked.get(Number(id));
    }

    /** Its answer is there. @param {number | null | undefined} id */
    take(id) {
        const request = this.get(id);
        this.#asked.delete(Number(id));
        clearTimeout(request?.timer);
        return request;
    }

    /** @param {number} id @param {string} pair */
    confirm(id, pair) {
        const request = this.#asked.get(id);
        if (!request) return undefined;
        this.#asked.delete(id);
        this.#joining.set(pair, [...(this.#joining.get(pair) ?? []), request]);
        return request;
    }

    /** The one that this snapshot is for, if any. @param {string} pair */
    join(pair) {
        const request = this.#joining.get(pair)?.shift();
        clearTimeout(request?.timer);
        return request;
    }

    /** After a lost socket: what the page asked for is asked again, what we asked ourselves is made anew. */
    putBack() {
        for (const waiting of this.#joining.values()) {
            for (const request of waiting) this.#asked.set(request.message.id, request);
        }
        this.#joining.clear();
        for (const [id, request] of this.#asked) {
            clearTimeout(request.timer);
            request.timer = undefined;
            if (request.resume) this.#asked.delete(id);
        }
    }

    /** @param {ClientError} error */
    failAll(error) {
        this.putBack();
        const requests = [...this.#asked.values()];
        this.#asked.clear();
        requests.forEach((request) => request.reject(error));
    }

    /** @param {Request} request */
    #send(request) {
        this.send(request.message);
        request.timer = setTimeout(() => this.#timeOut(request), ANSWER_WITHIN_MS);
    }

    /** @param {Request} request */
    #timeOut(request) {
        this.#asked.delete(request.message.id);
        for (const waiting of this.#joining.values()) {
            if (waiting.includes(request)) waiting.splice(waiting.indexOf(request), 1);
        }
        request.reject(new ClientError("timeout", `no answer to ${request.message.type} within ${ANSWER_WITHIN_MS / 1000} s`, true));
    }
}
