// @ts-check
/** The equity curve: what was kept on the server, and every change since. */
import { onTheme, token } from "../dashboard/theme.js";

/** @typedef {import("lightweight-charts")} Library */

const { createChart, AreaSeries } = /** @type {Library} */ (/** @type {any} */ (window).LightweightCharts);
/** A point a second is as fine as the library's time goes. */
const POINT_MS = 1000;

export class EquityCurve {
    #chart;
    #series;
    #last = 0;

    /** @param {HTMLElement} container */
    constructor(container) {
        this.#chart = createChart(container, { autoSize: true, timeScale: { timeVisible: true, secondsVisible: true } });
        this.#series = this.#chart.addSeries(AreaSeries, { lineWidth: 2, priceLineVisible: false });
        onTheme(() => this.#dress());
        this.#dress();
    }

    /** Begin another account's curve. @param {[number, number][]} points (ts ms, equity), oldest first */
    show(points) {
        this.#last = 0;
        const rows = new Map(points.map(([ts, value]) => [Math.floor(ts / POINT_MS), value]));
        this.#series.setData([...rows].map(([time, value]) => ({ time: /** @type {any} */ (time), value })));
        if (rows.size) this.#last = Math.max(...rows.keys());
        this.#chart.timeScale().fitContent();
    }

    /** @param {number} ts @param {string | null} equity */
    add(ts, equity) {
        const time = Math.floor(ts / POINT_MS);
        if (equity === null || time < this.#last) return;
        this.#last = time;
        this.#series.update({ time: /** @type {any} */ (time), value: Number(equity) });
    }

    #dress() {
        const accent = token("accent");
        this.#chart.applyOptions({
            layout: { background: { color: "transparent" }, textColor: token("text-2"), fontFamily: token("font"), attributionLogo: false },
            grid: { vertLines: { color: token("grid") }, horzLines: { color: token("grid") } },
            rightPriceScale: { borderColor: token("line") },
            timeScale: { borderColor: token("line") },
        });
        this.#series.applyOptions({ lineColor: accent, topColor: `${accent}40`, bottomColor: `${accent}05` });
    }
}
