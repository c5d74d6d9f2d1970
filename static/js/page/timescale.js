// @ts-check
/** The axis of time: bars at their true times, marks where the days and hours of a zone begin. The library itself marks the
 * days of UTC and knows no zones. */
import { zoneOffset } from "./format.js";

/** @typedef {import("lightweight-charts")} Library */

const { defaultHorzScaleBehavior } = /** @type {Library} */ (/** @type {any} */ (window).LightweightCharts);

const HOUR = 3_600_000;
/** A zone's offset changes within no hour of UTC but Lord Howe's. */
const OFFSET_HOLDS = HOUR / 2;
/** The library's weights of a mark, for the first bar of each new year, month and day … */
const [YEAR, MONTH, DAY] = [70, 60, 50];
/** … and of each new stretch of the clock: how long it is, and its weight, longest first. */
const STRETCHES = [[12 * HOUR, 33], [6 * HOUR, 32], [3 * HOUR, 31], [HOUR, 30], [HOUR / 2, 22], [HOUR / 12, 21], [HOUR / 60, 20], [1000, 10]];

/** What a mark between two bars weighs; both in milliseconds of the zone's own clock. @param {number} before @param {number} at */
export function weight(before, at) {
    const [a, b] = [new Date(before), new Date(at)];
    if (a.getUTCFullYear() !== b.getUTCFullYear()) return YEAR;
    if (a.getUTCMonth() !== b.getUTCMonth()) return MONTH;
    if (a.getUTCDate() !== b.getUTCDate()) return DAY;
    return STRETCHES.find(([length]) => Math.floor(before / length) !== Math.floor(at / length))?.[1] ?? 0;
}

/** A moment by the clocks of a zone, as if they showed UTC. @param {string} zone @returns {(ms: number) => number} */
export function wallClock(zone) {
    /** @type {Map<number, number>} */
    const offsets = new Map();
    return (ms) => {
        const part = Math.floor(ms / OFFSET_HOLDS);
        const known = offsets.get(part);
        if (known !== undefined) return ms + known;
        const offset = zoneOffset(zone, ms);
        offsets.set(part, offset);
        return ms + offset;
    };
}

export class ZonedTime extends defaultHorzScaleBehavior() {
    #zone = "UTC";
    #wall = wallClock("UTC");

    /** What is drawn already must be drawn anew afterwards. @param {string} zone @returns {boolean} whether it is another one */
    setZone(zone) {
        if (zone === this.#zone) return false;
        this.#zone = zone;
        this.#wall = wallClock(zone);
        return true;
    }

    /** @param {readonly any[]} points oldest first @param {number} start the first that is new @override */
    fillWeightsForPoints(points, start) {
        const local = (/** @type {number} */ index) => this.#wall(Number(this.key(points[index].time)) * 1000);
        for (let index = start; index < points.length; index += 1) {
            // Before the first bar stands a guess: as much time as lies between it and the second.
            const before = index > 0 ? local(index - 1) : points.length > 1 ? 2 * local(0) - local(1) : local(0);
            points[index].timeWeight = weight(before, local(index));
        }
    }
}
