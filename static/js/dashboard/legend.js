// @ts-check
/** Legends over the panes: the name of each indicator and its values under the crosshair. */
import { h, icon, perFrame, setText } from "../page/dom.js";
import { compact, direction, fixed, number, signed } from "../page/format.js";
import { partOf } from "./plots.js";

/** @typedef {import("./chart.js").PriceChart} PriceChart */
/** @typedef {import("./model.js").BarModel} BarModel */

/** Legends of all panes, with buttons to change and remove each indicator. */
export class Legend {
    #index = -1;
    #title = "";
    /** @type {((index: number) => void)[]} */ #writers = [];
    /** @type {HTMLElement[]} */ #boxes = [];
    #watcher = new ResizeObserver(() => this.#place());

    /** @param {HTMLElement} host element over the chart @param {PriceChart} chart @param {BarModel} model
     * @param {{onRemove: (id: string) => void, onSettings: (id: string) => void}} events */
    constructor(host, chart, model, events) {
        this.host = host;
        this.chart = chart;
        this.model = model;
        this.events = events;
        this.refresh = perFrame(() => this.#write());
    }

    /** Show the values of a bar. @param {number} index the bar under the crosshair, or -1 for the newest */
    hover(index) {
        this.#index = index;
        this.refresh();
    }

    /** Build the legends again after the instrument or the indicators have changed. @param {string} [title] */
    rebuild(title = this.#title) {
        this.#title = title;
        this.#writers = [];
        this.#boxes = this.chart.byPane().map((drawn, pane) =>
            h("div", { class: "legend" }, pane === 0 && this.#priceRow(), ...drawn.map((indicator) => this.#row(indicator))),
        );
        this.host.replaceChildren(...this.#boxes);
        this.#watcher.disconnect();
        for (const pane of this.chart.api.panes()) {
            const element = pane.getHTMLElement();
            if (element) this.#watcher.observe(element);
        }
        requestAnimationFrame(() => this.#place());
        this.refresh();
    }

    #place() {
        const top = this.host.getBoundingClientRect().top;
        this.chart.api.panes().forEach((pane, index) => {
            const box = pane.getHTMLElement()?.getBoundingClientRect();
            const legend = this.#boxes[index];
            if (!box || !legend) return;
            legend.style.transform = `translateY(${Math.round(box.top - top)}px)`;
            legend.style.maxHeight = `${Math.max(0, Math.round(box.height) - 8)}px`;
        });
    }

    #write() {
        const { length } = this.model.bars;
        const index = this.#index >= 0 && this.#index < length ? this.#index : length - 1;
        this.#writers.forEach((write) => write(index));
    }

    #priceRow() {
        const names = ["O", "H", "L", "C"];
        const cells = names.map(() => h("b"));
        const change = h("b");
        const volume = h("b");
        this.#writers.push((index) => {
            const bar = this.model.bars[index];
            const previous = this.model.bars[index - 1]?.[4] ?? bar?.[1];
            const { digits } = this.chart;
            const tone = direction(bar && bar[4] - bar[1]);
            cells.forEach((cell, column) => {
                setText(cell, number(bar?.[column + 1], digits));
                cell.className = tone;
            });
            const moved = bar ? bar[4] - previous : null;
            setText(change, bar ? `${signed(moved, digits)} (${signed(((moved ?? 0) / previous) * 100)}%)` : "–");
            change.className = direction(moved);
            setText(volume, compact(bar?.[5]));
        });
        const prices = names.flatMap((name, at) => [h("span", { class: "legend-cell" }, h("i", {}, name), cells[at])]);
        return h(
            "div",
            { class: "legend-row legend-price" },
            h("strong", {}, this.#title),
            ...prices,
            h("span", { class: "legend-cell" }, change),
            h("span", { class: "legend-cell" }, h("i", {}, "Vol"), volume),
        );
    }

    /** @param {import("./chart.js").Drawn} drawn */
    #row(drawn) {
        const { indicator, lines } = drawn;
        const cells = lines.map(({ plot }) => {
            const cell = h("b", { title: plot.part || indicator.label });
            cell.style.color = plot.shape === "histogram" ? "" : `var(--${plot.color})`;
            return cell;
        });
        this.#writers.push((index) => {
            const value = this.model.value(indicator.id, index);
            const known = lines.map(({ plot }) => partOf(value, plot.part));
            known.forEach((part, at) => {
                setText(cells[at], fixed(part, drawn.digits));
                cells[at].hidden = part === null && known.some((other) => other !== null);
            });
        });
        const { onRemove, onSettings } = this.events;
        const { id, label, entry } = indicator;
        return h(
            "div",
            { class: "legend-row", "data-indicator": id },
            h("span", { class: "legend-name", title: entry.title ?? entry.name }, label),
            h("span", { class: "legend-tools" },
                entry.params.length > 0 && h("button", { type: "button", class: "tool", "aria-label": `Settings of ${label}`, title: "Settings", onclick: () => onSettings(id) }, icon("sliders")),
                h("button", { type: "button", class: "tool", "aria-label": `Remove ${label}`, title: "Remove", onclick: () => onRemove(id) }, icon("cross")),
            ),
            h("span", { class: "legend-values" }, ...cells),
        );
    }
}
