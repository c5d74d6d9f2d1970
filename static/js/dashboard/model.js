// @ts-check
/** Bars of the chart and their indicator values, oldest first. This module does not draw. */

/** @typedef {import("../client/types.js").BarRow} BarRow */
/** @typedef {import("../client/types.js").Value} Value */
/** @typedef {import("../client/types.js").Update} Update */
/** @typedef {import("../client/types.js").Snapshot} Snapshot */
/** @typedef {import("../client/types.js").History} History */

/** Table of bars with one column of values per indicator. */
export class BarModel {
    /** Bars, oldest first, the forming bar last. @type {BarRow[]} */
    bars = [];
    /** Values by indicator id, one per bar. @type {Map<string, Value[]>} */
    values = new Map();

    /** Opening time of the oldest bar in ms, 0 without bars. */
    get first() {
        return this.bars[0]?.[0] ?? 0;
    }

    /** Opening time of the newest bar in ms, 0 without bars. */
    get last() {
        return this.bars.at(-1)?.[0] ?? 0;
    }

    /** Remove all bars and values. */
    clear() {
        this.bars = [];
        this.values.clear();
    }

    /** Replace everything by a snapshot. @param {Snapshot} snapshot */
    load(snapshot) {
        this.clear();
        this.#adopt(snapshot.history);
        this.apply(snapshot);
    }

    /** Add the bars that closed while the connection was lost. @param {Snapshot} snapshot */
    resume(snapshot) {
        const { bars, indicators } = snapshot.history ?? { bars: [], indicators: {} };
        bars.forEach((bar, row) => {
            const index = this.#place(bar);
            for (const [id, column] of Object.entries(indicators)) this.#set(id, index, column[row]);
        });
        this.apply(snapshot);
    }

    /** Add older bars in front. @param {History} page @returns {number} number of bars added */
    prepend(page) {
        const { first } = this;
        const count = page.bars.findIndex(([ts]) => ts >= first);
        const bars = count < 0 ? page.bars : page.bars.slice(0, count);
        this.bars = [...bars, ...this.bars];
        for (const [id, column] of this.values) {
            const older = page.indicators[id]?.slice(0, bars.length) ?? bars.map(() => null);
            this.values.set(id, [...older, ...column]);
        }
        return bars.length;
    }

    /** Return how many older bars this model has in front of those of `others`; negative when `others` has more. @param {BarRow[]} others */
    newInFront(others) {
        if (!others.length) return 0;
        const missing = others.findIndex(([ts]) => ts === this.first);
        return missing >= 0 ? -missing : Math.max(0, this.at(others[0][0]));
    }

    /** Apply a frame. @param {Update} update @returns {number[]} indexes of the bars that changed */
    apply(update) {
        const { ohlcv } = update;
        if (!ohlcv) return [];
        const { ts, open, high, low, close, volume } = ohlcv;
        const changed = new Set([this.#place([ts, open, high, low, close, volume])]);
        for (const [id, entry] of Object.entries(update.indicators)) {
            const index = this.at(entry?.ts ?? ts);
            if (index < 0) continue;
            this.#set(id, index, entry?.value ?? null);
            changed.add(index);
        }
        return [...changed].sort((a, b) => a - b);
    }

    /** Remove the values of an indicator. @param {string} id */
    drop(id) {
        this.values.delete(id);
    }

    /** Return the index of the bar that opened at a time, or -1. @param {number} ts */
    at(ts) {
        if (ts === this.last) return this.bars.length - 1;
        let [low, high] = [0, this.bars.length - 1];
        while (low <= high) {
            const middle = (low + high) >> 1;
            if (this.bars[middle][0] === ts) return middle;
            if (this.bars[middle][0] < ts) low = middle + 1;
            else high = middle - 1;
        }
        return -1;
    }

    /** Return the value of an indicator at a bar. @param {string} id @param {number} index @returns {Value} */
    value(id, index) {
        return this.values.get(id)?.[index] ?? null;
    }

    /** @param {History | undefined} history */
    #adopt(history) {
        if (!history) return;
        this.bars = [...history.bars];
        for (const [id, column] of Object.entries(history.indicators)) this.values.set(id, [...column]);
    }

    /** Replace the bar of this time, append a newer one, or insert one that was missed. @param {BarRow} bar
     * @returns {number} its index */
    #place(bar) {
        const known = this.at(bar[0]);
        if (known >= 0) this.bars[known] = bar;
        if (known >= 0) return known;
        const index = bar[0] > this.last ? this.bars.length : this.bars.findIndex(([ts]) => ts > bar[0]);
        this.bars.splice(index, 0, bar);
        for (const column of this.values.values()) column.splice(index, 0, null);
        return index;
    }

    /** @param {string} id @param {number} index @param {Value | undefined} value */
    #set(id, index, value) {
        const column = this.values.get(id) ?? this.bars.map(() => null);
        this.values.set(id, column);
        column[index] = value ?? null;
    }
}
