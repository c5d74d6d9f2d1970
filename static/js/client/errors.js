// @ts-check

/** Error of a request: `code` is stable, `retryable` says whether the same request may succeed later. */
export class ClientError extends Error {
    /** @param {string} code @param {string} message @param {boolean} retryable */
    constructor(code, message, retryable = false) {
        super(message);
        this.name = "ClientError";
        this.code = code;
        this.retryable = retryable;
    }
}
