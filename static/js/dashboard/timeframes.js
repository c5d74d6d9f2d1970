// @ts-check
/** Timeframes of the chart and their buttons. */
import { $, h } from "../page/dom.js";

/** Labels of the buttons by timeframe, in their order. */
const LABELS = new Map([
    ["1min", "1m"],
    ["3min", "3m"],
    ["5min", "5m"],
    ["15min", "15m"],
    ["30min", "30m"],
    ["1h", "1h"],
    ["4h", "4h"],
    ["1d", "1D"],
]);
const DEFAULT = "5min";

/** Return the timeframe if it is a known one, else the default. @param {string} timeframe */
export const knownTimeframe = (timeframe) => (LABELS.has(timeframe) ? timeframe : DEFAULT);

/** Return the short label of a timeframe. @param {string} timeframe */
export const timeframeLabel = (timeframe) => LABELS.get(timeframe) ?? timeframe;

/** Row of buttons of which one is checked; the arrow keys move between them. */
export class TimeframeButtons {
    /** @type {HTMLElement[]} */ #buttons;

    /** @param {(timeframe: string) => void} onChoose */
    constructor(onChoose) {
        this.#buttons = [...LABELS].map(([timeframe, label]) =>
            h("button", { type: "button", role: "radio", "data-timeframe": timeframe, title: timeframe, onclick: () => onChoose(timeframe) }, label));
        $("#timeframes").replaceChildren(...this.#buttons);
        $("#timeframes").addEventListener("keydown", (event) => this.#onKey(event));
    }

    /** Check the button of a timeframe. @param {string} timeframe */
    select(timeframe) {
        for (const button of this.#buttons) button.setAttribute("aria-checked", String(button.dataset.timeframe === timeframe));
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        const index = this.#buttons.findIndex((button) => button === document.activeElement);
        const { length } = this.#buttons;
        if (step && index >= 0) this.#buttons[(index + step + length) % length].focus();
    }
}
