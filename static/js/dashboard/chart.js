// @ts-check
/** Price chart: it draws the bars of the model as candles, with volume, and indicators over the price or in separate panes. */
import { clock, digitsOf, fixed } from "../page/format.js";
import { guides, partOf, plots } from "./plots.js";
import { onTheme, token } from "../page/theme.js";
import { ZonedTime } from "../page/timescale.js";

/** @typedef {import("lightweight-charts")} Library */
/** @typedef {import("lightweight-charts").ISeriesApi<any>} Series */
/** @typedef {import("./model.js").BarModel} BarModel */
/** @typedef {import("./model.js").BarRow} BarRow */
/** @typedef {{entry: import("../page/api.js").Entry, id: string, label: string, color: number}} Indicator */
/** @typedef {{indicator: Indicator, lines: {plot: import("./plots.js").Plot, series: Series}[], guides: import("lightweight-charts").IPriceLine[], digits: number}} Drawn */

const { createChartEx, CandlestickSeries, HistogramSeries, LineSeries, CrosshairMode, LineStyle, TickMarkType } =
    /** @type {Library} */ (/** @type {any} */ (window).LightweightCharts);

/** Bars that are visible at first. */
const BARS_IN_VIEW = 160;
/** A narrow chart shows fewer bars, so that none is thinner than this. */
const MIN_BAR_PX = 6;
/** Empty bars between the newest bar and the price axis. */
const ROOM_AT_RIGHT = 8;
/** Older bars are fetched when fewer than this number are left of the visible ones. */
const FETCH_BEFORE = 40;

/** Chart of one symbol and timeframe, drawn by the Lightweight Charts library. */
export class PriceChart {
    /** Drawn indicators by id. @type {Map<string, Drawn>} */ drawn = new Map();
    /** @type {import("lightweight-charts").IChartApiBase<import("lightweight-charts").Time>} */ api;
    /** @type {Series} */ #candles;
    /** @type {Series} */ #volume;
    /** @type {BarModel} */ #model;
    #digits = 2;
    #zone = "UTC";
    #daily = false;
    #time = new ZonedTime();

    /** @param {HTMLElement} container @param {BarModel} model
     * @param {{onHover: (index: number) => void, onEdge: () => void}} events onHover receives -1 when the pointer leaves the chart */
    constructor(container, model, { onHover, onEdge }) {
        this.#model = model;
        // A vertical drag by touch scrolls the page where it has one column, and moves the price scale in a wide window.
        const handleScroll = { vertTouchDrag: !matchMedia("(max-width: 1000px)").matches };
        this.api = createChartEx(container, this.#time, { autoSize: true, handleScroll, ...this.#look() });
        this.#candles = this.api.addSeries(CandlestickSeries, { priceLineStyle: LineStyle.Dotted });
        this.#volume = this.api.addSeries(HistogramSeries, {
            priceScaleId: "volume",
            priceFormat: { type: "volume" },
            lastValueVisible: false,
            priceLineVisible: false,
        });
        this.api.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
        this.#candles.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0.2 } });
        this.api.subscribeCrosshairMove((move) => onHover(move.time ? model.at(Number(move.time) * 1000) : -1));
        this.api.timeScale().subscribeVisibleLogicalRangeChange((range) => {
            if (range && range.from < FETCH_BEFORE && model.bars.length) onEdge();
        });
        onTheme(() => this.restyle());
        this.restyle();
    }

    /** Set tick size, time zone and kind of timeframe. @param {{tick: string | number | undefined, zone: string, daily: boolean}} instrument */
    describe({ tick, zone, daily }) {
        this.#digits = digitsOf(tick);
        this.#zone = zone;
        this.#daily = daily;
        this.#candles.applyOptions({ priceFormat: asPrice(this.#digits) });
        this.api.applyOptions(this.#look());
        this.api.timeScale().applyOptions({ timeVisible: !daily });
        if (this.#time.setZone(zone)) this.#resetMarks();
    }

    /** Decimal places of the price. */
    get digits() {
        return this.#digits;
    }

    /** Draw everything again and show the newest bars. */
    reload() {
        this.redraw();
        const end = this.#model.bars.length + ROOM_AT_RIGHT;
        const fitting = Math.floor(this.api.timeScale().width() / MIN_BAR_PX) || BARS_IN_VIEW;
        this.api.timeScale().setVisibleLogicalRange({ from: Math.max(end - Math.min(BARS_IN_VIEW, fitting), -ROOM_AT_RIGHT), to: end });
        for (const pane of this.api.panes()) pane.priceScale("right").setAutoScale(true);
    }

    /** Draw everything again without moving the view. @param {number} [added] number of bars that were added in front */
    redraw(added = 0) {
        const range = this.api.timeScale().getVisibleLogicalRange();
        this.#candles.setData(this.#model.bars.map((bar) => this.#candleOf(bar)));
        this.#volume.setData(this.#model.bars.map((bar) => this.#volumeOf(bar)));
        for (const drawn of this.drawn.values()) this.#fill(drawn);
        if (range && added) this.api.timeScale().setVisibleLogicalRange({ from: range.from + added, to: range.to + added });
    }

    /** Draw the bars that have changed. @param {number[]} indexes */
    update(indexes) {
        for (const index of indexes) {
            const bar = this.#model.bars[index];
            const past = index < this.#model.bars.length - 1;
            this.#candles.update(this.#candleOf(bar), past);
            this.#volume.update(this.#volumeOf(bar), past);
            for (const { indicator, lines } of this.drawn.values()) {
                for (const line of lines) this.#point(indicator.id, line, index, past);
            }
        }
    }

    /** Add an indicator to the chart. @param {Indicator} indicator */
    add(indicator) {
        const pane = indicator.entry.pane === "overlay" ? 0 : this.api.panes().length;
        const lines = plots(indicator.entry, indicator.color).map((plot) => ({ plot, series: this.#series(plot, pane) }));
        const levels = pane > 0 ? guides(indicator.entry) : [];
        const drawn = { indicator, lines, guides: levels.map((price) => this.#guide(lines[0].series, price)), digits: 2 };
        this.drawn.set(indicator.id, drawn);
        if (levels.length) lines[0].series.applyOptions({ autoscaleInfoProvider: including(levels) });
        this.#fill(drawn);
        this.#share();
    }

    /** Remove an indicator from the chart. @param {string} id */
    remove(id) {
        this.drawn.get(id)?.lines.forEach(({ series }) => this.api.removeSeries(series));
        this.drawn.delete(id);
        this.#share();
    }

    /** Return the drawn indicators by pane, the price pane first. @returns {Drawn[][]} */
    byPane() {
        /** @type {Drawn[][]} */
        const panes = this.api.panes().map(() => []);
        for (const drawn of this.drawn.values()) panes[drawn.lines[0]?.series.getPane().paneIndex() ?? 0]?.push(drawn);
        return panes;
    }

    /** Apply the colours of the theme. */
    restyle() {
        const [up, down] = [token("up"), token("down")];
        this.api.applyOptions(this.#look());
        this.#candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
        for (const drawn of this.drawn.values()) {
            for (const { plot, series } of drawn.lines) series.applyOptions({ color: token(plot.color) });
            for (const guide of drawn.guides) guide.applyOptions({ color: token("guide") });
        }
        this.redraw();
    }

    // --- pieces ------------------------------------------------------------------------------------------------------

    /** Remove all bars and draw them again, because the library computes a mark of the time axis only for a new bar. */
    #resetMarks() {
        const range = this.api.timeScale().getVisibleLogicalRange();
        const lines = [...this.drawn.values()].flatMap((drawn) => drawn.lines.map((line) => line.series));
        for (const series of [this.#candles, this.#volume, ...lines]) series.setData([]);
        this.redraw();
        if (range) this.api.timeScale().setVisibleLogicalRange(range);
    }

    /** @param {BarRow} bar */
    #candleOf([ts, open, high, low, close]) {
        return { time: drawnTime(ts), open, high, low, close };
    }

    /** @param {BarRow} bar */
    #volumeOf(bar) {
        return { time: drawnTime(bar[0]), value: bar[5], color: token(bar[4] >= bar[1] ? "volume-up" : "volume-down") };
    }

    /** @param {import("./plots.js").Plot} plot @param {number} pane @returns {Series} */
    #series(plot, pane) {
        const color = token(plot.color);
        const common = { color, priceLineVisible: false, lastValueVisible: pane > 0, crosshairMarkerRadius: 3 };
        if (plot.shape === "histogram") return this.api.addSeries(HistogramSeries, common, pane);
        return this.api.addSeries(
            LineSeries,
            {
                ...common,
                lineWidth: plot.dashed ? 1 : 2,
                lineStyle: plot.dashed ? LineStyle.Dashed : LineStyle.Solid,
                lineVisible: plot.shape !== "dots",
                pointMarkersVisible: plot.shape === "dots",
                pointMarkersRadius: 1.6,
            },
            pane,
        );
    }

    /** @param {Drawn} drawn */
    #fill(drawn) {
        const { indicator, lines } = drawn;
        const all = lines.map(({ plot }) => this.#model.bars.map((_, index) => this.#pointAt(indicator.id, plot, index)));
        const digits = indicator.entry.pane === "overlay" ? this.#digits : digitsFor(all.flat());
        drawn.digits = digits;
        for (const [at, line] of lines.entries()) {
            line.series.setData(all[at]);
            line.series.applyOptions({ priceFormat: asPrice(digits) });
        }
    }

    /** @param {string} id @param {Drawn["lines"][number]} line @param {number} index @param {boolean} past */
    #point(id, { plot, series }, index, past) {
        series.update(this.#pointAt(id, plot, index), past);
        if (plot.broken && index > 0) series.update(this.#pointAt(id, plot, index - 1), true);
    }

    /** Return a point, or an empty point when the value is not known. @param {string} id @param {import("./plots.js").Plot} plot
     * @param {number} index @returns {any} */
    #pointAt(id, plot, index) {
        const time = drawnTime(this.#model.bars[index][0]);
        const value = partOf(this.#model.value(id, index), plot.part);
        if (value === null) return { time };
        if (plot.shape === "histogram") return { time, value, color: token(value >= 0 ? "histogram-up" : "histogram-down") };
        if (!plot.broken) return { time, value };
        // The library draws a line across empty points, so the segment before one is made transparent.
        const next = index + 1 < this.#model.bars.length ? partOf(this.#model.value(id, index + 1), plot.part) : value;
        return next === null ? { time, value, color: "transparent" } : { time, value };
    }

    /** @param {Series} series @param {number} price */
    #guide(series, price) {
        return series.createPriceLine({ price, color: token("guide"), lineWidth: 1, lineStyle: LineStyle.Dashed, axisLabelVisible: false, title: "" });
    }

    /** Divide the height: three parts for the price pane, one for each other pane. */
    #share() {
        this.api.panes().forEach((pane, index) => pane.setStretchFactor(index === 0 ? 3 : 1));
    }

    /** @returns {import("lightweight-charts").DeepPartial<import("lightweight-charts").ChartOptions>} */
    #look() {
        const times = clock(this.#zone);
        const line = token("grid");
        const label = { color: token("crosshair"), labelBackgroundColor: token("crosshair-label"), style: LineStyle.Dashed };
        return {
            layout: {
                background: { color: token("chart-bg") },
                textColor: token("text-2"),
                fontFamily: token("font"),
                fontSize: 11,
                attributionLogo: true,
                panes: { separatorColor: token("line"), separatorHoverColor: token("hover"), enableResize: true },
            },
            grid: { vertLines: { color: line }, horzLines: { color: line } },
            crosshair: { mode: CrosshairMode.Normal, vertLine: label, horzLine: label },
            rightPriceScale: { borderColor: token("line"), minimumWidth: 76 },
            timeScale: {
                borderColor: token("line"),
                rightOffset: ROOM_AT_RIGHT,
                tickMarkFormatter: (/** @type {any} */ time, /** @type {any} */ type) => this.#tick(times, Number(time) * 1000, type),
            },
            localization: {
                locale: "en-US",
                timeFormatter: (/** @type {any} */ time) => (this.#daily ? times.day : times.full)(Number(time) * 1000),
            },
        };
    }

    /** @param {ReturnType<typeof clock>} times @param {number} ms @param {number} type */
    #tick(times, ms, type) {
        if (type === TickMarkType.Year) return times.year(ms);
        if (type === TickMarkType.Month) return times.month(ms);
        if (type === TickMarkType.DayOfMonth) return times.date(ms);
        return times.time(ms);
    }
}

/** Return a provider of the scale's range that always includes these values. @param {number[]} levels
 * @returns {(own: () => import("lightweight-charts").AutoscaleInfo | null) => import("lightweight-charts").AutoscaleInfo | null} */
const including = (levels) => (own) => {
    const info = own();
    if (!info?.priceRange) return info;
    const { minValue, maxValue } = info.priceRange;
    return { ...info, priceRange: { minValue: Math.min(minValue, ...levels), maxValue: Math.max(maxValue, ...levels) } };
};

/** @param {number} digits */
function asPrice(digits) {
    return { type: /** @type {const} */ ("custom"), minMove: 10 ** -digits, formatter: (/** @type {number} */ value) => fixed(value, digits) };
}

/** Return the decimal places for a whole pane, from its largest value. @param {{value?: number}[]} points */
function digitsFor(points) {
    const size = points.reduce((most, point) => Math.max(most, Math.abs(point.value ?? 0)), 0);
    return size === 0 || size >= 10 ? 2 : Math.min(8, 3 - Math.floor(Math.log10(size)));
}

/** Convert a time to the library's seconds. @param {number} ms */
const drawnTime = (ms) => /** @type {import("lightweight-charts").UTCTimestamp} */ (ms / 1000);
