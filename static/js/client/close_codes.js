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

/** The reason of a close code as the page shows it; undefined for a code without one. @param {number} code @returns {string | undefined} */
export const reasonOf = (code) => REASONS[code];

/** Whether the client must not reconnect: codes 4500 to 4999. @param {number} code */
export function isFinal(code) {
    return code >= 4500 && code <= 4999;
}

/** Milliseconds to wait before attempt n (0 is the first): doubling, half of it random, so that clients spread.
 * @param {number} attempt @param {() => number} [random] */
export function backoff(attempt, random = Math.random) {
    const full = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
    return Math.round(full / 2 + (random() * full) / 2);
}

/** Milliseconds to wait after a close; a server that restarts names the time over which its clients spread.
 * @param {number} code @param {string} reason @param {number} attempt */
export function pauseAfter(code, reason, attempt) {
    const jitterMs = code === RESTART ? Number(/jitter_ms=(\d+)/.exec(reason)?.[1]) : NaN;
    return Number.isFinite(jitterMs) ? Math.round(Math.random() * jitterMs) : backoff(attempt);
}
