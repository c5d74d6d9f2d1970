// @ts-check
/** Watch list: the last price and the day's change of each symbol, live. The arrow keys select, Enter opens, Delete removes. */
import { $, h, icon, setText } from "../page/dom.js";
import { direction, number, signed } from "../page/format.js";

const DAY = "1d";
const OWNER = "watch";

/** Daily bar of a symbol and the close of the day before.
 * @typedef {{bar: import("../client/types.js").Ohlcv, previous: number | null}} Day */

/** List of the watched symbols; it also receives the daily bars of the chart's symbol. */
export class WatchList {
    #host = $("#watchlist");
    /** @type {string[]} */ symbols = [];
    /** @type {Map<string, Day>} */ days = new Map();
    /** @type {Map<string, HTMLElement>} */ #rows = new Map();
    #current = "";
    #cursor = "";

    /** @param {import("./streams.js").SharedStreams} streams
     * @param {{digits: (symbol: string) => number, onOpen: (symbol: string) => void, onChange: () => void, onDay: (symbol: string, day: Day) => void}} events */
    constructor(streams, events) {
        this.streams = streams;
        this.events = events;
        this.#host.addEventListener("keydown", (event) => this.#onKey(event));
    }

    /** Return whether a symbol is on the list. @param {string} symbol */
    has(symbol) {
        return this.symbols.includes(symbol);
    }

    /** Add a symbol to the list. @param {string} symbol */
    add(symbol) {
        if (this.has(symbol)) return;
        this.symbols.push(symbol);
        this.#draw();
        void this.#follow(symbol);
        this.events.onChange();
    }

    /** Remove a symbol from the list. @param {string} symbol */
    remove(symbol) {
        this.symbols = this.symbols.filter((other) => other !== symbol);
        this.#draw();
        if (symbol !== this.#current) void this.streams.leave(OWNER, symbol, DAY).catch(() => {});
        this.events.onChange();
    }

    /** Add a symbol to the list, or remove it. @param {string} symbol */
    toggle(symbol) {
        if (this.has(symbol)) this.remove(symbol);
        else this.add(symbol);
    }

    /** Select the symbol of the chart, which is followed for its quote even if it is not on the list. @param {string} symbol */
    select(symbol) {
        const before = this.#current;
        this.#current = this.#cursor = symbol;
        if (before && before !== symbol && !this.has(before)) void this.streams.leave(OWNER, before, DAY).catch(() => {});
        if (before !== symbol && !this.has(symbol)) void this.#follow(symbol);
        const day = this.days.get(symbol);
        if (day) this.events.onDay(symbol, day);
        this.#mark();
    }

    /** Handle a frame; the list uses those of daily streams only. @param {import("../client/types.js").Update} update */
    onFrame(update) {
        if (update.timeframe !== DAY || !update.ohlcv) return;
        const known = this.days.get(update.symbol);
        const next = known && update.ohlcv.ts > known.bar.ts;
        const day = { bar: update.ohlcv, previous: next ? known.bar.close : (known?.previous ?? null) };
        this.#show(update.symbol, day);
    }

    /** @param {string} symbol */
    async #follow(symbol) {
        try {
            const snapshot = await this.streams.subscribe(OWNER, symbol, DAY, [], 2);
            const closed = snapshot.history.bars.at(-1);
            const bar = snapshot.ohlcv ?? (closed && { ts: closed[0], open: closed[1], high: closed[2], low: closed[3], close: closed[4], volume: closed[5], closed: true });
            const before = snapshot.history.bars.findLast(([ts]) => ts < (bar?.ts ?? 0));
            if (bar) this.#show(symbol, { bar, previous: before?.[4] ?? null });
        } catch (error) {
            this.#rows.get(symbol)?.setAttribute("title", /** @type {Error} */ (error).message);
        }
    }

    /** @param {string} symbol @param {Day} day */
    #show(symbol, day) {
        const before = this.days.get(symbol)?.bar.close;
        this.days.set(symbol, day);
        this.events.onDay(symbol, day);
        const row = this.#rows.get(symbol);
        if (row) this.#write(row, symbol, day, before);
    }

    /** @param {HTMLElement} row @param {string} symbol @param {Day} day @param {number} [before] */
    #write(row, symbol, { bar, previous }, before) {
        const [, price, change] = /** @type {HTMLElement[]} */ ([...row.children]);
        const moved = previous ? ((bar.close - previous) / previous) * 100 : null;
        setText(price, number(bar.close, this.events.digits(symbol)));
        setText(change, moved === null ? "" : `${signed(moved)}%`);
        change.className = direction(moved);
        if (before === undefined || before === bar.close) return;
        price.className = bar.close > before ? "flash-up" : "flash-down";
        requestAnimationFrame(() => setTimeout(() => (price.className = ""), 60));
    }

    #draw() {
        this.#rows = new Map(this.symbols.map((symbol) => [symbol, this.#rows.get(symbol) ?? this.#row(symbol)]));
        this.#host.replaceChildren(...this.#rows.values());
        if (!this.symbols.length) this.#host.append(h("p", { class: "dialog-empty" }, "The watch list is empty"));
        this.#mark();
    }

    /** @param {string} symbol */
    #row(symbol) {
        const remove = h("button", {
            type: "button", class: "tool", tabindex: "-1", "aria-label": `Remove ${symbol} from the watch list`, title: "Remove",
            onclick: (/** @type {MouseEvent} */ event) => {
                event.stopPropagation();
                this.remove(symbol);
            },
        }, icon("cross"));
        return h("div", { class: "watch-row", role: "option", id: `watch-${symbol}`, onclick: () => this.events.onOpen(symbol) },
            h("span", {}, symbol), h("b", {}, "–"), h("em", {}), remove);
    }

    #mark() {
        for (const [symbol, row] of this.#rows) row.setAttribute("aria-selected", String(symbol === this.#cursor));
        const row = this.#rows.get(this.#cursor);
        if (row) this.#host.setAttribute("aria-activedescendant", row.id);
        else this.#host.removeAttribute("aria-activedescendant");
        if (row) this.#reveal(row);
    }

    /** Scroll a row into view within the list, without scrolling the page. @param {HTMLElement} row */
    #reveal(row) {
        const [list, box] = [this.#host.getBoundingClientRect(), row.getBoundingClientRect()];
        this.#host.scrollTop += Math.max(0, box.bottom - list.bottom) - Math.max(0, list.top - box.top);
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        const at = this.symbols.indexOf(this.#cursor);
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (step && this.symbols.length) {
            event.preventDefault();
            this.#cursor = this.symbols[(at + step + this.symbols.length) % this.symbols.length];
            this.#mark();
        } else if (event.key === "Enter" && at >= 0) {
            this.events.onOpen(this.#cursor);
        } else if (event.key === "Delete" && at >= 0) {
            this.remove(this.#cursor);
        }
    }
}
