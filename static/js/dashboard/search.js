// @ts-check
/** The symbol search: type, arrows, Enter; the star puts a symbol on the watch list. */
import { searchSymbols } from "../page/api.js";
import { $, closeOnBackdrop, debounced, h, icon } from "../page/dom.js";
import { exchangeName } from "../page/format.js";
import { Combobox } from "../page/combobox.js";

/** @typedef {import("../page/api.js").Instrument} Instrument */

export class SymbolSearch {
    #dialog = /** @type {HTMLDialogElement} */ ($("#search"));
    #input = /** @type {HTMLInputElement} */ ($("#search-input"));
    #list = $("#search-results");
    #combobox = new Combobox(this.#input, this.#list, (row, byKey) => this.#choose(row, byKey));
    /** @type {Map<string, Instrument>} */ #found = new Map();
    #asked = 0;
    /** The words that the list answers, and whether Enter came before it did. */
    #answered = /** @type {string | null} */ (null);
    #hasty = false;
    /** @type {(instrument: Instrument) => void} */ #onChoose = () => {};

    /** @param {{isWatched: (symbol: string) => boolean, onWatch: (instrument: Instrument) => void}} watch */
    constructor(watch) {
        this.watch = watch;
        closeOnBackdrop(this.#dialog);
        const look = debounced(120, () => this.#search());
        this.#input.addEventListener("input", look);
        this.#input.addEventListener("keydown", (event) => {
            this.#hasty = event.key === "Enter" && this.#answered !== this.#words;
        });
    }

    /** @param {(instrument: Instrument) => void} onChoose @param {string} [text] */
    open(onChoose, text = "") {
        this.#onChoose = onChoose;
        this.#hasty = false;
        this.#answered = null;
        this.#input.value = text;
        if (!this.#dialog.open) this.#dialog.showModal();
        void this.#search();
    }

    get #words() {
        return this.#input.value.trim().toUpperCase();
    }

    async #search() {
        const asked = ++this.#asked;
        const words = this.#words;
        try {
            const found = await searchSymbols(words);
            if (asked !== this.#asked) return;
            this.#answered = words;
            this.#show(found.sort((a, b) => rank(a, words) - rank(b, words)));
        } catch (error) {
            this.#list.replaceChildren(h("p", { class: "dialog-empty" }, /** @type {Error} */ (error).message));
        }
    }

    /** @param {Instrument[]} found */
    #show(found) {
        this.#found = new Map(found.map((instrument) => [instrument.symbol, instrument]));
        this.#list.replaceChildren(...found.map((instrument) => this.#row(instrument)));
        if (!found.length) this.#list.append(h("p", { class: "dialog-empty" }, "No symbol fits"));
        this.#combobox.begin();
        const first = this.#combobox.current;
        if (this.#hasty && first) this.#choose(first, true);
    }

    /** @param {Instrument} instrument */
    #row(instrument) {
        const watched = this.watch.isWatched(instrument.symbol);
        const star = h(
            "button",
            {
                type: "button", class: "tool", tabindex: "-1", "aria-pressed": String(watched),
                "aria-label": `${instrument.symbol} on the watch list`, title: "Watch list",
                onclick: (/** @type {MouseEvent} */ event) => {
                    event.stopPropagation();
                    this.watch.onWatch(instrument);
                    star.setAttribute("aria-pressed", String(this.watch.isWatched(instrument.symbol)));
                },
            },
            icon("star"),
        );
        const place = [exchangeName(instrument.exchange), instrument.kind].filter(Boolean).join(" · ");
        return h("div", { class: "option", role: "option", id: `symbol-${instrument.symbol}`, "data-key": instrument.symbol },
            h("b", {}, instrument.symbol), h("span", {}, instrument.name), h("small", {}, place), star);
    }

    /** @param {HTMLElement} row @param {boolean} byKey */
    #choose(row, byKey) {
        if (byKey && this.#answered !== this.#words) return;
        const instrument = this.#found.get(row.dataset.key ?? "");
        if (!instrument) return;
        this.#dialog.close();
        this.#onChoose(instrument);
    }
}

/** The symbol itself comes first, then what begins so; the many options of a chain come last. @param {Instrument} instrument
 * @param {string} words */
function rank(instrument, words) {
    if (instrument.symbol === words) return 0;
    return (instrument.symbol.startsWith(words) ? 1 : 2) + (instrument.kind === "option" ? 2 : 0);
}
