// @ts-check
/** What a close code means: why, whether to come back, and how long to wait before that. */

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

/** In our words, where we have some. @param {number} code @returns {string | undefined} */
export const reasonOf = (code) => REASONS[code];

/** 4500–4999 mean: do not come back. @param {number} code */
export function isFinal(code) {
    return code >= 4500 && code <= 4999;
}

/** How long to wait before attempt n (0 is the first): doubling, half of it random, so that clients spread.
 * @param {number} attempt @param {() => number} [random] */
export function backoff(attempt, random = Math.random) {
    const full = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
    return Math.round(full / 2 + (random() * full) / 2);
}

/** A server that restarts names the time within which its clients should spread their return.
 * @param {number} code @param {string} reason @param {number} attempt */
export function pauseAfter(code, reason, attempt) {
    const jitterMs = code === RESTART ? Number(/jitter_ms=(\d+)/.exec(reason)?.[1]) : NaN;
    return Number.isFinite(jitterMs) ? Math.round(Math.random() * jitterMs) : backoff(attempt);
}
