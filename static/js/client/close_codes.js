// @ts-check
/** Close codes: their reasons, whether a client reconnects after them, and how long it waits first. */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const RESTART = 1012;
export const SESSION_ENDED = 4508;

const REASONS = /** @type {Record<number, string>} */ ({
    [RESTART]: "server restart",
    4000: "try again",
    4008: "too slow",
    4029: "too many messages",
    4501: "not authenticated",
    4503: "forbidden",
    [SESSION_ENDED]: "session ended",
    4509: "too many connections",
    4510: "replaced by another connection of this session",
    4513: "message too large",
});

/** Return the reason of a close code that the page shows; undefined for an unknown code. @param {number} code @returns {string | undefined} */
export const reasonOf = (code) => REASONS[code];

/** Return whether the client must not reconnect, which codes 4500 to 4999 say. @param {number} code */
export function isFinal(code) {
    return code >= 4500 && code <= 4999;
}

/** Return the milliseconds to wait before an attempt: they double each time, and half of them is random so that the clients
 * do not all reconnect at once. @param {number} attempt 0 is the first @param {() => number} [random] */
export function backoff(attempt, random = Math.random) {
    const full = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
    return Math.round(full / 2 + (random() * full) / 2);
}

/** Return the milliseconds to wait after a close. A server that restarts names the period in which its clients reconnect;
 * each waits a random part of it. @param {number} code @param {string} reason @param {number} attempt */
export function pauseAfter(code, reason, attempt) {
    const jitterMs = code === RESTART ? Number(/jitter_ms=(\d+)/.exec(reason)?.[1]) : NaN;
    return Number.isFinite(jitterMs) ? Math.round(Math.random() * jitterMs) : backoff(attempt);
}
