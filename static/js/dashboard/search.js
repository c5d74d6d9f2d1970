// @ts-check
/** Symbol search. The user types, moves with the arrow keys and chooses with Enter; the star adds a symbol to the watch list. */
import { searchSymbols } from "../page/api.js";
import { $, closeOnBackdrop, debounced, h, icon } from "../page/dom.js";
import { exchangeName } from "../page/format.js";
import { Combobox } from "../page/combobox.js";

/** @typedef {import("../page/api.js").Instrument} Instrument */

/** Dialog that finds a symbol. */
export class SymbolSearch {
    #dialog = /** @type {HTMLDialogElement} */ ($("#search"));
    #input = /** @type {HTMLInputElement} */ ($("#search-input"));
    #list = $("#search-results");
    #combobox = new Combobox(this.#input, this.#list, (row, byKey) => this.#choose(row, byKey));
    /** @type {Map<string, Instrument>} */ #found = new Map();
    #searches = 0;
    /** The words whose results the list shows. */
    #answered = /** @type {string | null} */ (null);
    /** Whether the user pressed Enter before the results arrived. */
    #enterPressed = false;
    /** @type {(instrument: Instrument) => void} */ #onChoose = () => {};

    /** @param {{isWatched: (symbol: string) => boolean, onWatch: (instrument: Instrument) => void}} watch */
    constructor(watch) {
        this.watch = watch;
        closeOnBackdrop(this.#dialog);
        const search = debounced(120, () => this.#search());
        this.#input.addEventListener("input", search);
        this.#input.addEventListener("keydown", (event) => {
            this.#enterPressed = event.key === "Enter" && this.#answered !== this.#words;
        });
    }

    /** Open the dialog. @param {(instrument: Instrument) => void} onChoose @param {string} [text] */
    open(onChoose, text = "") {
        this.#onChoose = onChoose;
        this.#enterPressed = false;
        this.#answered = null;
        this.#input.value = text;
        if (!this.#dialog.open) this.#dialog.showModal();
        void this.#search();
    }

    get #words() {
        return this.#input.value.trim().toUpperCase();
    }

    async #search() {
        const search = ++this.#searches;
        const words = this.#words;
        try {
            const found = await searchSymbols(words);
            if (search !== this.#searches) return;
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
        if (!found.length) this.#list.append(h("p", { class: "dialog-empty" }, "No symbol matches"));
        this.#combobox.begin();
        const first = this.#combobox.current;
        if (this.#enterPressed && first) this.#choose(first, true);
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

/** Rank a result: the exact symbol first, then symbols that begin with the words; options last, because a chain has many.
 * @param {Instrument} instrument @param {string} words */
function rank(instrument, words) {
    if (instrument.symbol === words) return 0;
    return (instrument.symbol.startsWith(words) ? 1 : 2) + (instrument.kind === "option" ? 2 : 0);
}
