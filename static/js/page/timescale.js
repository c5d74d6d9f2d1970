// @ts-check
/** Time axis of a chart: it places bars at their true times, and marks where days and hours begin in a time zone. The
 * library itself knows only UTC. */
import { zoneOffset } from "./format.js";

/** @typedef {import("lightweight-charts")} Library */

const { defaultHorzScaleBehavior } = /** @type {Library} */ (/** @type {any} */ (window).LightweightCharts);

const HOUR_MS = 3_600_000;
/** The offset of a zone never changes within such a period; Lord Howe's changes at a half hour, all others at full hours. */
const OFFSET_HOLDS_MS = HOUR_MS / 2;
/** The library's weights of the mark at the first bar of a new year, month and day. */
const [YEAR, MONTH, DAY] = [70, 60, 50];
/** Periods of the clock in ms and the library's weight of the mark at the first bar of each, longest first. */
const PERIODS = [
    [12 * HOUR_MS, 33],
    [6 * HOUR_MS, 32],
    [3 * HOUR_MS, 31],
    [HOUR_MS, 30],
    [HOUR_MS / 2, 22],
    [HOUR_MS / 12, 21],
    [HOUR_MS / 60, 20],
    [1000, 10],
];

/** Return the weight of the mark between two bars, whose times are given in ms of the zone's clock. @param {number} before @param {number} at */
export function weight(before, at) {
    const [a, b] = [new Date(before), new Date(at)];
    if (a.getUTCFullYear() !== b.getUTCFullYear()) return YEAR;
    if (a.getUTCMonth() !== b.getUTCMonth()) return MONTH;
    if (a.getUTCDate() !== b.getUTCDate()) return DAY;
    return PERIODS.find(([length]) => Math.floor(before / length) !== Math.floor(at / length))?.[1] ?? 0;
}

/** Return a function that converts a UTC time into the time of a zone's clock. @param {string} zone @returns {(ms: number) => number} */
export function wallClock(zone) {
    /** @type {Map<number, number>} */
    const offsets = new Map();
    return (ms) => {
        const part = Math.floor(ms / OFFSET_HOLDS_MS);
        const known = offsets.get(part);
        if (known !== undefined) return ms + known;
        const offset = zoneOffset(zone, ms);
        offsets.set(part, offset);
        return ms + offset;
    };
}

/** Time axis whose marks follow the clock of a time zone. */
export class ZonedTime extends defaultHorzScaleBehavior() {
    #zone = "UTC";
    #wall = wallClock("UTC");

    /** Set the zone; after a change the caller must draw all bars again. @param {string} zone @returns {boolean} whether it changed */
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
            // The first bar has no predecessor: assume the same distance as between the first and the second bar.
            const before = index > 0 ? local(index - 1) : points.length > 1 ? 2 * local(0) - local(1) : local(0);
            points[index].timeWeight = weight(before, local(index));
        }
    }
}
