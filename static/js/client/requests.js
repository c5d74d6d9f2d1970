// @ts-check
import { ClientError } from "./errors.js";

const ANSWER_WITHIN_MS = 20_000;

/**
 * @typedef {object} Request
 * @property {Record<string, any>} message
 * @property {(value: any) => void} resolve
 * @property {(error: ClientError) => void} reject
 * @property {boolean} resume whether the client itself made the request to continue a stream; it is dropped with the socket
 * @property {import("./types.js").Timer} timer runs since the request was sent
 */

/** Requests without an answer yet. A subscribe request has two answers: `subscribed` confirms it, and a snapshot follows. */
export class Requests {
    /** @type {Map<number, Request>} */ #unanswered = new Map();
    /** Confirmed requests that wait for their snapshot, by stream, oldest first. @type {Map<string, Request[]>} */ #confirmed = new Map();
    #nextId = 1;

    /** @param {(message: Record<string, any>) => void} send */
    constructor(send) {
        this.send = send;
    }

    /** Add a request and return its answer. With `now` it is sent at once, otherwise by `sendWaiting`.
     * @param {Record<string, any>} message @param {{resume: boolean, now: boolean}} options @returns {Promise<any>} */
    add(message, { resume, now }) {
        const id = this.#nextId++;
        return new Promise((resolve, reject) => {
            const request = { message: { ...message, id }, resolve, reject, resume, timer: undefined };
            this.#unanswered.set(id, request);
            if (now) this.#send(request);
        });
    }

    /** Send the requests that have not been sent yet. */
    sendWaiting() {
        for (const request of [...this.#unanswered.values()]) if (!request.timer) this.#send(request);
    }

    /** Return an unanswered request. @param {number | null | undefined} id */
    get(id) {
        return this.#unanswered.get(Number(id));
    }

    /** Remove and return the request whose answer has arrived. @param {number | null | undefined} id */
    take(id) {
        const request = this.get(id);
        this.#unanswered.delete(Number(id));
        clearTimeout(request?.timer);
        return request;
    }

    /** Note that the server has confirmed a subscribe request, which now waits for its snapshot. @param {number} id @param {string} key */
    confirm(id, key) {
        const request = this.#unanswered.get(id);
        if (!request) return undefined;
        this.#unanswered.delete(id);
        this.#confirmed.set(key, [...(this.#confirmed.get(key) ?? []), request]);
        return request;
    }

    /** Remove and return the oldest confirmed request of a stream, which its next snapshot answers. @param {string} key */
    takeConfirmed(key) {
        const request = this.#confirmed.get(key)?.shift();
        clearTimeout(request?.timer);
        return request;
    }

    /** After a lost connection, keep the page's requests so that they are sent again, and drop those that resume a stream. */
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

    /** Reject all requests. @param {ClientError} error */
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
        request.reject(new ClientError("timeout", `expected an answer to ${request.message.type} within ${ANSWER_WITHIN_MS / 1000} s, got none`, true));
    }
}
