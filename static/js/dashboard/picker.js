// @ts-check
/** Indicator picker: it searches the catalogue and shows a form with the typed parameters of the chosen indicator. */
import { $, closeOnBackdrop, h } from "../page/dom.js";
import { Combobox } from "../page/combobox.js";

/** @typedef {import("../page/api.js").Entry} Entry */
/** @typedef {import("../page/api.js").Param} Param */
/** @typedef {Record<string, number | string>} Params */

const ALL = "all";

/** Return what is wrong with the text of a parameter, or null. @param {Param} param @param {string} text @returns {string | null} */
export function complaint(param, text) {
    if (param.type === "choice") return null;
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value)) return "a number, please";
    if (param.type === "int" && !Number.isInteger(value)) return "a whole number, please";
    if (param.min !== undefined && value < param.min) return `at least ${param.min}`;
    if (param.max !== undefined && value > param.max) return `at most ${param.max}`;
    return null;
}

/** Dialog that adds an indicator to the chart, or changes the settings of one. */
export class IndicatorPicker {
    #dialog = /** @type {HTMLDialogElement} */ ($("#picker"));
    #input = /** @type {HTMLInputElement} */ ($("#picker-input"));
    #list = $("#picker-list");
    #form = /** @type {HTMLFormElement} */ ($("#picker-form"));
    #chips = $("#picker-categories");
    #combobox = new Combobox(this.#input, this.#list, (_, byKey) => this.#enter(byKey), (row) => this.#describe(row.dataset.key ?? ""));
    #category = ALL;
    /** @type {Entry | undefined} */ #entry;
    /** Indicator whose settings are being changed. @type {{entry: Entry, params: Params, id: string} | null} */ #editing = null;

    /** @param {Entry[]} entries @param {(entry: Entry, params: Params, replaces: string | null) => Promise<void>} onApply
     * rejects with the server's error */
    constructor(entries, onApply) {
        this.entries = entries;
        this.onApply = onApply;
        closeOnBackdrop(this.#dialog);
        this.#input.addEventListener("input", () => this.#fill());
        this.#form.addEventListener("submit", (event) => {
            event.preventDefault();
            void this.#apply();
        });
        this.#drawChips();
    }

    /** Open the dialog to add an indicator. */
    open() {
        this.#editing = null;
        this.#input.value = "";
        this.#show();
    }

    /** Open the dialog to change the settings of an indicator on the chart. @param {Entry} entry @param {Params} params @param {string} id */
    edit(entry, params, id) {
        this.#editing = { entry, params, id };
        this.#category = ALL;
        this.#input.value = entry.name;
        this.#show(entry.name);
        /** @type {HTMLElement | null} */ (this.#form.querySelector("input, select"))?.focus();
    }

    /** @param {string} [key] */
    #show(key) {
        this.#fill(key);
        if (!this.#dialog.open) this.#dialog.showModal();
        this.#input.select();
    }

    #drawChips() {
        const categories = [ALL, ...new Set(this.entries.map((entry) => entry.category))];
        this.#chips.replaceChildren(...categories.map((category) =>
            h("button", {
                type: "button", role: "radio", "aria-checked": String(category === this.#category),
                onclick: () => {
                    this.#category = category;
                    this.#drawChips();
                    this.#fill();
                },
            }, category)));
    }

    /** @param {string} [key] */
    #fill(key) {
        const words = this.#input.value.trim().toLowerCase();
        const matching = this.entries
            .filter((entry) => this.#category === ALL || entry.category === this.#category)
            .map((entry) => ({ entry, rank: rank(entry, words) }))
            .filter(({ rank }) => rank < Infinity)
            .sort((a, b) => a.rank - b.rank || a.entry.name.localeCompare(b.entry.name));
        this.#list.replaceChildren(...matching.map(({ entry }) =>
            h("div", { class: "option", role: "option", id: `entry-${entry.name}`, "data-key": entry.name },
                h("b", {}, entry.name), h("span", {}, entry.title ?? ""), h("small", {}, entry.pane === "overlay" ? "on price" : ""))));
        if (!matching.length) {
            this.#list.append(h("p", { class: "dialog-empty" }, "No indicator matches"));
            this.#form.replaceChildren();
        }
        this.#combobox.begin(key);
    }

    /** @param {string} name */
    #describe(name) {
        const entry = this.entries.find((known) => known.name === name);
        if (!entry) return;
        this.#entry = entry;
        const params = this.#editing?.entry === entry ? this.#editing.params : {};
        const facts = [["Drawn", entry.pane === "overlay" ? "over the price" : "in a separate pane"], ["Ready after", `${entry.warmup ?? "?"} bars`], ["Computed by", entry.kernel ?? ""]];
        this.#form.replaceChildren(
            h("div", {}, h("h3", {}, entry.title ?? entry.name), entry.convention && h("p", {}, entry.convention)),
            ...entry.params.map((param) => this.#field(param, params[param.name] ?? param.default)),
            h("dl", {}, ...facts.filter(([, value]) => value).flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
            h("div", { class: "picker-actions" },
                h("p", { class: "picker-error", role: "alert", hidden: true }),
                h("button", { type: "submit", class: "button button-primary" }, this.#editing?.entry === entry ? "Apply" : "Add to the chart")),
        );
    }

    /** @param {Param} param @param {any} value */
    #field(param, value) {
        const name = param.name.replaceAll("_", " ");
        if (param.type === "choice") {
            const options = (param.choices ?? []).map((choice) => h("option", { value: choice, selected: choice === value }, choice));
            return h("label", {}, name, h("select", { name: param.name }, ...options));
        }
        const error = h("small", { id: `error-${param.name}`, hidden: true });
        const input = h("input", {
            name: param.name, type: "text", inputmode: param.type === "int" ? "numeric" : "decimal", value,
            "aria-describedby": error.id, title: `${param.min} to ${param.max}`,
            oninput: () => this.#judge(param, input, error),
        });
        return h("label", {}, name, input, error);
    }

    /** @param {Param} param @param {HTMLInputElement} input @param {HTMLElement} error */
    #judge(param, input, error) {
        const wrong = complaint(param, input.value);
        input.setAttribute("aria-invalid", String(Boolean(wrong)));
        error.textContent = wrong ?? "";
        error.hidden = !wrong;
        return !wrong;
    }

    /** The first parameter is next; Enter adds one without parameters at once. @param {boolean} byKey */
    #enter(byKey) {
        const first = /** @type {HTMLElement | null} */ (this.#form.querySelector("input, select"));
        first?.focus();
        if (first instanceof HTMLInputElement) first.select();
        if (!first && byKey) void this.#apply();
    }

    async #apply() {
        const entry = this.#entry;
        if (!entry || !this.#valid(entry)) return;
        const params = /** @type {Params} */ ({});
        for (const param of entry.params) {
            const text = String(new FormData(this.#form).get(param.name));
            params[param.name] = param.type === "choice" ? text : Number(text);
        }
        const error = $(".picker-error", this.#form);
        const button = /** @type {HTMLButtonElement} */ ($("button[type=submit]", this.#form));
        button.disabled = true;
        try {
            await this.onApply(entry, params, this.#editing?.entry === entry ? this.#editing.id : null);
            this.#dialog.close();
        } catch (failure) {
            error.textContent = /** @type {Error} */ (failure).message;
            error.hidden = false;
        }
        button.disabled = false;
    }

    /** @param {Entry} entry */
    #valid(entry) {
        const judged = entry.params.filter((param) => param.type !== "choice").map((param) => {
            const input = /** @type {HTMLInputElement} */ (this.#form.elements.namedItem(param.name));
            return this.#judge(param, input, $(`#error-${param.name}`, this.#form)) ? null : input;
        });
        const wrong = judged.find((input) => input !== null);
        wrong?.focus();
        return !wrong;
    }
}

/** Rank how well an entry matches the words: by its name first, then by its title. @param {Entry} entry @param {string} words */
function rank(entry, words) {
    if (!words) return 0;
    const [name, title] = [entry.name.toLowerCase(), (entry.title ?? "").toLowerCase()];
    if (name === words) return 0;
    if (name.startsWith(words)) return 1;
    if (name.includes(words)) return 2;
    return words.split(/\s+/).every((word) => title.includes(word) || name.includes(word)) ? 3 : Infinity;
}
