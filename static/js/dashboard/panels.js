// @ts-check
/** Cards beside the chart: quote, Greeks, open interest. A card rewrites only the texts that have changed. */
import { $, h, setText } from "../page/dom.js";
import { compact, direction, number, signed, significant } from "../page/format.js";

/** @typedef {import("./watchlist.js").Day} Day */

/** Card with the last price, the day's change and the day's range. */
export class QuoteCard {
    #symbol = h("strong");
    #name = h("span");
    #price = h("b");
    #change = h("span");
    #low = h("span", { title: "Low of the day" });
    #high = h("span", { title: "High of the day" });
    #mark = h("i");

    constructor() {
        const range = h("div", { class: "range" }, this.#low, h("div", { class: "range-bar" }, this.#mark), this.#high);
        $("#quote").append(
            h("div", { class: "quote-head" }, this.#symbol, this.#name),
            h("div", { class: "quote-price" }, this.#price, this.#change),
            range,
        );
    }

    /** Begin with another symbol. @param {string} symbol @param {string} name */
    describe(symbol, name) {
        setText(this.#symbol, symbol);
        setText(this.#name, name);
        for (const part of [this.#price, this.#low, this.#high]) setText(part, "–");
        setText(this.#change, "");
    }

    /** Show the daily bar. @param {Day} day @param {number} digits */
    show({ bar, previous }, digits) {
        const moved = previous === null ? null : bar.close - previous;
        setText(this.#price, number(bar.close, digits));
        setText(this.#change, moved === null ? "" : `${signed(moved, digits)} (${signed((moved / /** @type {number} */ (previous)) * 100)}%)`);
        this.#change.className = direction(moved);
        setText(this.#low, number(bar.low, digits));
        setText(this.#high, number(bar.high, digits));
        const width = bar.high - bar.low;
        this.#mark.style.left = `${width > 0 ? ((bar.close - bar.low) / width) * 100 : 50}%`;
    }
}

/** Create the header of a card. @param {string} title @param {string} [detail] */
const head = (title, detail = "") => h("header", {}, h("h2", {}, title), h("small", {}, detail));

/** Create a table body and return it with the cells that are rewritten. @param {string[]} names @param {number} columns */
function table(names, columns) {
    const rows = names.map((name) => ({ name, cells: Array.from({ length: columns }, () => h("td")) }));
    const body = h("tbody", {}, ...rows.map(({ name, cells }) => h("tr", {}, h("th", { scope: "row" }, name), ...cells)));
    return { rows, body };
}

/** Card that is rebuilt when the shape of its data changes, and only rewritten otherwise. */
class Card {
    #shape = "";
    /** @type {(data: any) => void} */ #write = () => {};

    /** @param {string} selector */
    constructor(selector) {
        this.host = $(selector);
    }

    /** Show data. @param {string} shape name of the data's shape @param {any} data @param {() => {nodes: Node[], write: (data: any) => void}} build */
    draw(shape, data, build) {
        if (shape !== this.#shape) {
            const { nodes, write } = build();
            this.#shape = shape;
            this.#write = write;
            this.host.replaceChildren(...nodes);
        }
        this.#write(data);
    }
}

const GREEKS = /** @type {[string, string, string][]} */ ([
    ["iv", "IV", "Implied volatility per year"],
    ["delta", "Delta", "Per 1 point of the underlying"],
    ["gamma", "Gamma", "Change of delta per 1 point"],
    ["theta", "Theta", "Per calendar day"],
    ["vega", "Vega", "Per 1 percentage point of volatility"],
    ["rho", "Rho", "Per 1 percentage point of interest"],
]);

/** @param {string} key @param {number | null | undefined} value */
const greek = (key, value) => (key === "iv" && typeof value === "number" ? `${number(value * 100)}%` : significant(value, 3));

/** Card with the option Greeks. */
export class GreeksCard extends Card {
    constructor() {
        super("#greeks");
        this.show(null);
    }

    /** Show the Greeks of an underlying (a call and a put at the money), of an option (its own), or none. @param {any} greeks */
    show(greeks) {
        if (!greeks) return this.draw("none", null, () => ({ nodes: [head("Greeks"), h("p", { class: "empty" }, "No options on this symbol")], write: () => {} }));
        const sides = greeks.call || greeks.put ? ["call", "put"] : [""];
        this.draw(sides.join(), greeks, () => this.#build(sides));
    }

    /** @param {string[]} sides */
    #build(sides) {
        const top = head("Greeks");
        const detail = $("small", top);
        const { rows, body } = table(GREEKS.map(([, name]) => name), sides.length);
        rows.forEach((row, at) => (/** @type {HTMLElement} */ (row.cells[0].parentElement).title = GREEKS[at][2]));
        const columns = sides.length > 1 && h("thead", {}, h("tr", {}, h("th"), ...sides.map((side) => h("th", { scope: "col" }, side === "call" ? "Call" : "Put"))));
        const write = (/** @type {any} */ greeks) => {
            const expiry = greeks.expiry ? new Date(greeks.expiry).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }) : "";
            setText(detail, [expiry, greeks.strike && number(greeks.strike, Number.isInteger(greeks.strike) ? 0 : 2)].filter(Boolean).join(" · "));
            rows.forEach(({ cells }, at) => sides.forEach((side, column) => {
                const key = GREEKS[at][0];
                setText(cells[column], greek(key, (side ? greeks[side] : greeks)?.[key]));
            }));
        };
        return { nodes: [top, h("table", { class: "facts" }, columns, body)], write };
    }
}

/** Card with the open interest. */
export class OiCard extends Card {
    constructor() {
        super("#oi");
        this.show(null);
    }

    /** Show the open interest of an underlying (calls and puts), of an option (its own), or none. @param {any} oi */
    show(oi) {
        if (!oi) return this.draw("none", null, () => ({ nodes: [head("Open interest"), h("p", { class: "empty" }, "None for this symbol")], write: () => {} }));
        if (oi.call === undefined) return this.draw("own", oi, () => this.#own());
        this.draw("sides", oi, () => this.#sides());
    }

    #own() {
        const { rows, body } = table(["Open interest", "Change"], 1);
        const write = (/** @type {any} */ oi) => this.#write(rows, [compact(oi.oi), change(oi.change)], oi.change);
        return { nodes: [head("Open interest"), h("table", { class: "facts" }, body)], write };
    }

    #sides() {
        const top = head("Open interest");
        const [call, put] = [h("i", { title: "Calls" }), h("i", { title: "Puts" })];
        const { rows, body } = table(["Calls", "Puts", "Change"], 1);
        const write = (/** @type {any} */ oi) => {
            setText($("small", top), `PCR ${number(oi.pcr)}`);
            call.style.flexGrow = String(oi.call || 0);
            put.style.flexGrow = String(oi.put || 0);
            this.#write(rows, [compact(oi.call), compact(oi.put), change(oi.change)], oi.change);
        };
        return { nodes: [top, h("div", { class: "split", "aria-hidden": "true" }, call, put), h("table", { class: "facts" }, body)], write };
    }

    /** @param {{cells: HTMLElement[]}[]} rows @param {string[]} texts @param {any} moved */
    #write(rows, texts, moved) {
        rows.forEach(({ cells }, at) => setText(cells[0], texts[at]));
        rows[rows.length - 1].cells[0].className = direction(typeof moved === "number" ? moved : null);
    }
}

/** Format a change, which is one number or one per side. @param {any} value @returns {string} */
function change(value) {
    if (value && typeof value === "object") return `${change(value.call)} / ${change(value.put)}`;
    if (typeof value !== "number") return "–";
    return (value > 0 ? "+" : value < 0 ? "−" : "") + compact(Math.abs(value));
}
