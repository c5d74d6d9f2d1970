// @ts-check
/** Dashboard page, which connects its parts. All live data arrive through one client and therefore one session. */
import { StocksBlitzClient } from "../stocksblitz-client.js";
import { catalogue, olderBars, searchSymbols } from "../page/api.js";
import { PriceChart } from "./chart.js";
import { $, h, toast } from "../page/dom.js";
import { digitsOf, exchangeName, zoneOf } from "../page/format.js";
import { Legend } from "./legend.js";
import { BarModel } from "./model.js";
import { GreeksCard, OiCard, QuoteCard } from "./panels.js";
import { IndicatorPicker } from "./picker.js";
import { colorsUsed, idOf, labelOf } from "./plots.js";
import { SymbolSearch } from "./search.js";
import { Status } from "./status.js";
import { loadLayout, saveLayout } from "./store.js";
import { SharedStreams } from "./streams.js";
import { TimeframeButtons, knownTimeframe, timeframeLabel } from "./timeframes.js";
import { WatchList } from "./watchlist.js";
import "../page/page.js";

/** @typedef {import("../page/api.js").Entry} Entry */
/** @typedef {import("../page/api.js").Instrument} Instrument */
/** @typedef {import("./store.js").Placed} Placed */
/** @typedef {import("../stocksblitz-client.js").ClientError} ClientError */

const OWNER = "chart";
/** Closed bars that are loaded at first, and with each page of older ones. */
const HISTORY = 500;
/** The server's limit for a snapshot: bars × (1 + indicators). */
const SNAPSHOT_CELLS = 20_000;
const MAX_BARS = 5_000;
/** Symbols on the watch list of a new user. */
const WATCHED_AT_FIRST = 10;

/** The page's state and the handlers of its parts. */
class Dashboard {
    layout = loadLayout();
    client = new StocksBlitzClient();
    streams = new SharedStreams(this.client);
    model = new BarModel();
    timeframes = new TimeframeButtons((timeframe) => void this.show(this.layout.symbol, timeframe));
    /** @type {Map<string, Instrument>} */ instruments = new Map();
    /** @type {Map<string, Entry>} */ entries = new Map();
    /** Indicators on the chart by id. @type {Map<string, Placed>} */ placed = new Map();
    /** Number that grows with each change of symbol or timeframe; responses for an older number are ignored. */
    showing = 0;
    ready = false;
    fetching = false;
    complete = false;

    constructor() {
        this.chart = new PriceChart($("#chart"), this.model, { onHover: (index) => this.legend?.hover(index), onEdge: () => void this.fetchOlder() });
        this.legend = new Legend($("#legends"), this.chart, this.model, { onRemove: (id) => void this.remove(id), onSettings: (id) => this.edit(id) });
        this.status = new Status(this.client);
        this.quote = new QuoteCard();
        this.greeks = new GreeksCard();
        this.oi = new OiCard();
        this.watch = new WatchList(this.streams, {
            digits: (symbol) => digitsOf(this.instruments.get(symbol)?.tick_size),
            onOpen: (symbol) => void this.show(symbol, this.layout.timeframe),
            onChange: () => this.save(),
            onDay: (symbol, day) => symbol === this.layout.symbol && this.quote.show(day, this.chart.digits),
        });
        this.search = new SymbolSearch({
            isWatched: (symbol) => this.watch.has(symbol),
            onWatch: (instrument) => this.toggleWatch(instrument),
        });
    }

    /** Connect, load the catalogue and the symbols, and restore the layout. */
    async start() {
        this.listen();
        this.client.connect().catch(() => {});
        const [entries, found] = await Promise.all([catalogue(), searchSymbols("")]);
        this.entries = new Map(entries.map((entry) => [entry.name, entry]));
        this.picker = new IndicatorPicker(entries, (entry, params, replaces) => this.add(entry, params, replaces));
        found.forEach((instrument) => this.instruments.set(instrument.symbol, instrument));
        await this.restore(found);
    }

    /** Restore the layout of this tab; a new one watches the first symbols. @param {Instrument[]} found */
    async restore(found) {
        const { layout } = this;
        for (const placed of layout.indicators) {
            const entry = this.entries.get(placed.name);
            if (entry) this.placed.set(idOf(entry, placed.params), placed);
        }
        const watch = layout.watch.length ? layout.watch : found.slice(0, WATCHED_AT_FIRST).map((instrument) => instrument.symbol);
        await Promise.all([layout.symbol, ...watch].map((symbol) => this.loadInstrument(symbol)));
        const first = found.find((instrument) => instrument.kind === "index") ?? found[0];
        const symbol = this.instruments.has(layout.symbol) ? layout.symbol : first?.symbol;
        if (!symbol) return this.notice("There are no symbols yet. Is a feed running?", () => location.reload());
        const shown = this.show(symbol, knownTimeframe(layout.timeframe));
        watch.filter((name) => this.instruments.has(name)).forEach((name) => this.watch.add(name));
        await shown;
    }

    /** Load an instrument that the first page of symbols did not contain. @param {string} symbol */
    async loadInstrument(symbol) {
        if (!symbol || this.instruments.has(symbol)) return;
        const found = await searchSymbols(symbol).catch(() => []);
        const exact = found.find((instrument) => instrument.symbol === symbol);
        if (exact) this.instruments.set(symbol, exact);
    }

    /** Connect the client's events and the controls of the page to their handlers. */
    listen() {
        this.client.on("update", (update) => this.onUpdate(update));
        this.client.on("snapshot", (snapshot) => this.onSnapshot(snapshot));
        this.client.on("error", (error) => toast(error.message, "error"));
        $("#open-search").addEventListener("click", () => this.openSearch());
        $("#open-picker").addEventListener("click", () => this.picker?.open());
        $("#add-watch").addEventListener("click", () => this.search.open((instrument) => this.toggleWatch(instrument, true)));
        $("#zone").addEventListener("click", () => this.switchZone());
        document.addEventListener("keydown", (event) => this.onKey(event));
    }

    /** Open the symbol search with the slash key. @param {KeyboardEvent} event */
    onKey(event) {
        const typing = event.target instanceof Element && event.target.closest("input, select, textarea, dialog[open]");
        if (typing || event.ctrlKey || event.metaKey || event.altKey || event.key !== "/") return;
        event.preventDefault();
        this.openSearch();
    }

    /** Open the symbol search and show the chosen symbol. */
    openSearch() {
        this.search.open((instrument) => {
            this.instruments.set(instrument.symbol, instrument);
            void this.show(instrument.symbol, this.layout.timeframe);
        });
    }

    /** Add an instrument to the watch list, or remove it. @param {Instrument} instrument @param {boolean} [addOnly] never remove */
    toggleWatch(instrument, addOnly = false) {
        this.instruments.set(instrument.symbol, instrument);
        if (addOnly) this.watch.add(instrument.symbol);
        else this.watch.toggle(instrument.symbol);
    }

    /** Save the layout. */
    save() {
        if (!this.ready) return;
        this.layout.indicators = [...this.placed.values()];
        this.layout.watch = this.watch.symbols;
        saveLayout(this.layout);
    }

    // --- symbol and timeframe ----------------------------------------------------------------------------------------

    /** Show a symbol in a timeframe, with the indicators that are on the chart. @param {string} symbol @param {string} timeframe */
    async show(symbol, timeframe) {
        const { layout } = this;
        if (!symbol || (this.ready && symbol === layout.symbol && timeframe === layout.timeframe)) return;
        const before = { symbol: layout.symbol, timeframe: layout.timeframe };
        if (this.showing) this.streams.leave(OWNER, before.symbol, before.timeframe).catch(() => {});
        Object.assign(layout, { symbol, timeframe });
        const showing = ++this.showing;
        this.ready = true;
        this.save();
        this.describe();
        await this.load(showing);
    }

    /** Show the name of the symbol and the timeframe everywhere on the page. */
    describe() {
        const { symbol, timeframe } = this.layout;
        const instrument = this.instruments.get(symbol);
        document.title = `${symbol} ${timeframe} · StocksBlitz`;
        $("#symbol-label").textContent = symbol;
        this.timeframes.select(timeframe);
        this.quote.describe(symbol, [instrument?.name, exchangeName(instrument?.exchange)].filter(Boolean).join(" · "));
        this.describeTime();
        this.greeks.show(null);
        this.oi.show(null);
        this.watch.select(symbol);
    }

    /** Set the time zone of the chart and the clock. */
    describeTime() {
        const instrument = this.instruments.get(this.layout.symbol);
        const zone = this.layout.zone === "utc" ? "UTC" : (instrument?.timezone ?? zoneOf(instrument?.exchange));
        this.chart.describe({ tick: instrument?.tick_size, zone, daily: this.layout.timeframe === "1d" });
        this.status.setZone(zone);
    }

    /** Switch between the exchange's time and UTC. */
    switchZone() {
        this.layout.zone = this.layout.zone === "utc" ? "exchange" : "utc";
        this.describeTime();
        this.chart.redraw();
        this.save();
    }

    /** Load the bars and indicators of the chart. @param {number} showing */
    async load(showing) {
        this.model.clear();
        this.fetching = this.complete = false;
        this.chart.redraw();
        this.syncDrawn();
        this.notice("Loading");
        try {
            const snapshot = await this.subscribe([...this.placed.keys()]);
            if (showing !== this.showing) return;
            this.adopt(snapshot);
            this.chart.reload();
        } catch (failure) {
            if (showing === this.showing) await this.onRefused(/** @type {ClientError} */ (failure), showing);
        }
    }

    /** After a refused subscription, load the bars alone and then add the indicators one by one, so that a wrong indicator
     * does not prevent the others. @param {ClientError} error @param {number} showing */
    async onRefused(error, showing) {
        const isRefused = error.code === "unknown_indicator" || error.code === "invalid_parameter" || error.code === "limit_exceeded";
        if (!isRefused || !this.placed.size) return this.notice(error.message, () => void this.load(showing));
        const indicators = [...this.placed];
        this.placed.clear();
        await this.load(showing);
        for (const [id, placed] of indicators) {
            if (showing !== this.showing) return;
            await this.place(id, placed).catch((refusal) => toast(`${id}: ${refusal.message}`, "error"));
        }
    }

    /** Subscribe to the chart's stream; the history covers all loaded bars, up to the limit of a snapshot. @param {string[]} ids */
    subscribe(ids) {
        const columns = 1 + new Set([...this.placed.keys(), ...ids]).size;
        const bars = Math.min(Math.max(HISTORY, this.model.bars.length), Math.floor(SNAPSHOT_CELLS / columns));
        return this.streams.subscribe(OWNER, this.layout.symbol, this.layout.timeframe, ids, bars);
    }

    /** Fill the model with a snapshot. @param {import("../client/types.js").Snapshot} snapshot */
    adopt(snapshot) {
        this.model.load(snapshot);
        this.complete = false;
        if (this.model.bars.length) this.notice();
        else this.notice(`No bars of ${snapshot.symbol} yet`);
        this.facts(snapshot);
        this.legend.refresh();
    }

    // --- live --------------------------------------------------------------------------------------------------------

    /** Return whether a frame belongs to the chart's stream. @param {{symbol: string, timeframe: string}} frame */
    isShown({ symbol, timeframe }) {
        return symbol === this.layout.symbol && timeframe === this.layout.timeframe;
    }

    /** Draw a frame. @param {import("../client/types.js").Update} update */
    onUpdate(update) {
        this.watch.onFrame(update);
        if (!this.isShown(update)) return;
        const empty = !this.model.bars.length;
        this.chart.update(this.model.apply(update));
        if (empty && this.model.bars.length) this.notice();
        this.facts(update);
        this.legend.refresh();
    }

    /** Handle a snapshot that was not requested: after a reconnect, or because the stream began a new epoch.
     * @param {import("../client/types.js").Snapshot} snapshot */
    onSnapshot(snapshot) {
        this.watch.onFrame(snapshot);
        if (snapshot.requested || !this.isShown(snapshot)) return;
        if (!snapshot.resumed || !snapshot.history.complete) return void this.load(++this.showing);
        this.model.resume(snapshot);
        this.chart.redraw();
        this.facts(snapshot);
        this.legend.refresh();
    }

    /** Show source, Greeks and open interest of a frame. @param {import("../client/types.js").Update} frame */
    facts(frame) {
        this.status.source(frame);
        this.greeks.show(frame.greeks);
        this.oi.show(frame.oi);
    }

    /** Fetch older bars, when the user scrolls near the left edge of the loaded ones. */
    async fetchOlder() {
        if (this.fetching || this.complete || this.model.bars.length >= MAX_BARS) return;
        this.fetching = true;
        const { showing } = this;
        try {
            const { symbol, timeframe } = this.layout;
            const page = await olderBars(symbol, timeframe, [...this.placed.keys()], HISTORY, this.model.first);
            if (showing !== this.showing) return;
            const added = this.model.prepend(page);
            this.complete = added === 0;
            if (added) this.chart.redraw(added);
        } catch {
            this.complete = true; // The chart works without older bars; the next symbol or timeframe tries again.
        }
        this.fetching = false;
    }

    // --- indicators --------------------------------------------------------------------------------------------------

    /** Add an indicator to the chart. @param {Entry} entry @param {Record<string, any>} params
     * @param {string | null} replaces id of the indicator in whose place it stands */
    async add(entry, params, replaces) {
        const id = idOf(entry, params);
        if (id === replaces) return;
        if (this.placed.has(id)) throw new Error(`${labelOf(entry, params)} is on the chart already`);
        const color = this.placed.get(replaces ?? "")?.color ?? this.freeColor();
        const order = [...this.placed.keys()];
        await this.place(id, { name: entry.name, params, color });
        if (!replaces) return;
        this.arrange(order.map((placedId) => (placedId === replaces ? id : placedId)));
        await this.remove(replaces);
    }

    /** Put the indicators into this order, and those that it does not name at the end. @param {string[]} order */
    arrange(order) {
        const placed = [...order, ...this.placed.keys()].map((id) => /** @type {const} */ ([id, this.placed.get(id)]));
        this.placed = new Map(/** @type {[string, Placed][]} */ (placed.filter(([, indicator]) => indicator)));
        [...this.chart.drawn.keys()].forEach((id) => this.chart.remove(id));
    }

    /** Subscribe to an indicator and draw it. @param {string} id @param {Placed} placed */
    async place(id, placed) {
        const { showing } = this;
        const snapshot = await this.subscribe([id]);
        this.placed.set(id, placed);
        this.save();
        if (showing !== this.showing) return void this.load(++this.showing);
        const before = this.model.bars;
        this.adopt(snapshot);
        this.syncDrawn();
        this.chart.redraw(this.model.newInFront(before));
    }

    /** Remove an indicator from the chart. @param {string} id */
    async remove(id) {
        this.placed.delete(id);
        this.save();
        this.model.drop(id);
        this.syncDrawn();
        const { symbol, timeframe } = this.layout;
        await this.streams.release(OWNER, symbol, timeframe, [id]).catch((error) => toast(error.message, "error"));
    }

    /** Open the settings of an indicator. @param {string} id */
    edit(id) {
        const placed = this.placed.get(id);
        const entry = placed && this.entries.get(placed.name);
        if (entry) this.picker?.edit(entry, placed.params, id);
    }

    /** Return the index of the first colour after those in use. */
    freeColor() {
        let next = 0;
        for (const placed of this.placed.values()) {
            const entry = this.entries.get(placed.name);
            if (entry) next = Math.max(next, placed.color + colorsUsed(entry));
        }
        return next;
    }

    /** Make the chart draw exactly the placed indicators. */
    syncDrawn() {
        for (const id of [...this.chart.drawn.keys()]) if (!this.placed.has(id)) this.chart.remove(id);
        for (const [id, { name, params, color }] of this.placed) {
            const entry = this.entries.get(name);
            if (entry && !this.chart.drawn.has(id)) this.chart.add({ entry, id, label: labelOf(entry, params), color });
        }
        const { symbol, timeframe } = this.layout;
        this.legend.rebuild(`${symbol} · ${timeframeLabel(timeframe)}`);
    }

    /** Show a text over the chart; without a text the last one is removed. @param {string} [text] @param {() => void} [retry] */
    notice(text, retry) {
        const box = $("#notice");
        box.hidden = !text;
        box.classList.toggle("notice-busy", text === "Loading");
        box.replaceChildren(...(text ? [h("span", {}, text)] : []));
        if (retry) box.append(h("button", { type: "button", class: "button", onclick: retry }, "Try again"));
    }
}

async function main() {
    await document.fonts.load("12px Inter").catch(() => {});
    const dashboard = new Dashboard();
    await dashboard.start().catch((error) => dashboard.notice(error.message, () => location.reload()));
}

void main();
