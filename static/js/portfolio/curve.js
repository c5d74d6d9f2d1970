// @ts-check
/** Equity curve of an account: the points that the server has kept, and every change since. */
import { clock, number, zoneName } from "../page/format.js";
import { onTheme, token } from "../page/theme.js";
import { ZonedTime } from "../page/timescale.js";
import { when, ZONE } from "./format.js";

/** @typedef {import("lightweight-charts")} Library */
/** @typedef {{time: import("lightweight-charts").UTCTimestamp, value: number}} Point */

const { createChartEx, AreaSeries, TickMarkType } = /** @type {Library} */ (/** @type {any} */ (window).LightweightCharts);
/** The smallest step of the library's time axis. */
const POINT_MS = 1000;
/** Every second of the last ten minutes is kept, and one point per ten seconds of the time before, as on the server. */
const FINE_S = 600;
const COARSE_S = 10;
const MAX_POINTS = 4_000;

/** Thin old points out, so that a page that stays open uses bounded memory.
 * @param {Point[]} points oldest first @returns {Point[]} at most `MAX_POINTS` */
export function thinned(points) {
    const since = (points.at(-1)?.time ?? 0) - FINE_S;
    const bucket = (/** @type {Point} */ point) => Math.floor(point.time / COARSE_S);
    return points.filter((point, index) => point.time > since || index === 0 || bucket(point) !== bucket(points[index - 1])).slice(-(MAX_POINTS - FINE_S));
}

/** Chart of the equity of the selected account. */
export class EquityCurve {
    #chart;
    #series;
    /** @type {Point[]} */ #points = [];

    /** @param {HTMLElement} container @param {HTMLElement} zone element that names the time zone */
    constructor(container, zone) {
        const times = clock(ZONE);
        const axis = new ZonedTime();
        axis.setZone(ZONE);
        zone.textContent = zoneName(ZONE);
        this.#chart = createChartEx(container, axis, {
            autoSize: true,
            handleScroll: { vertTouchDrag: false },
            localization: { priceFormatter: (/** @type {number} */ value) => number(value), timeFormatter: (/** @type {any} */ time) => when(time * 1000) },
            timeScale: /** @type {Partial<import("lightweight-charts").TimeScaleOptions>} */ ({
                timeVisible: true,
                secondsVisible: true,
                tickMarkFormatter: (/** @type {any} */ time, /** @type {number} */ type) => {
                    if (type <= TickMarkType.DayOfMonth) return times.date(time * 1000);
                    return (type === TickMarkType.Time ? times.time : times.seconds)(time * 1000);
                },
            }),
        });
        this.#series = this.#chart.addSeries(AreaSeries, { lineWidth: 2, priceLineVisible: false });
        onTheme(() => this.#applyTheme());
        this.#applyTheme();
    }

    /** Show the curve of another account. @param {[number, number][]} points (time in ms, equity), oldest first */
    show(points) {
        const rows = new Map(points.map(([ts, value]) => [Math.floor(ts / POINT_MS), value]));
        this.#points = [...rows].map(([time, value]) => ({ time: /** @type {any} */ (time), value }));
        this.#series.setData(this.#points);
        this.#chart.timeScale().fitContent();
    }

    /** Append a point; one of the same second replaces the last one. @param {number} ts ms @param {string | null} equity */
    add(ts, equity) {
        const time = /** @type {any} */ (Math.floor(ts / POINT_MS));
        const last = this.#points.at(-1)?.time ?? 0;
        if (equity === null || time < last) return;
        const point = { time, value: Number(equity) };
        if (time === last) this.#points.pop();
        this.#points.push(point);
        if (this.#points.length <= MAX_POINTS) return this.#series.update(point);
        this.#points = thinned(this.#points);
        this.#series.setData(this.#points);
    }

    #applyTheme() {
        const accent = token("accent");
        this.#chart.applyOptions({
            layout: { background: { color: "transparent" }, textColor: token("text-2"), fontFamily: token("font"), fontSize: 11, attributionLogo: false },
            grid: { vertLines: { color: token("grid") }, horzLines: { color: token("grid") } },
            rightPriceScale: { borderColor: token("line") },
            timeScale: { borderColor: token("line") },
        });
        this.#series.applyOptions({ lineColor: accent, topColor: `${accent}40`, bottomColor: `${accent}05` });
    }
}
