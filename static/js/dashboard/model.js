// @ts-check
/** The bars of the chart and their indicator values, oldest first. It does not draw. */

/** @typedef {import("../client/types.js").BarRow} BarRow */
/** @typedef {import("../client/types.js").Value} Value */
/** @typedef {import("../client/types.js").Update} Update */
/** @typedef {import("../client/types.js").Snapshot} Snapshot */
/** @typedef {import("../client/types.js").History} History */

export class BarModel {
    /** @type {BarRow[]} oldest first, the forming bar last */
    bars = [];
    /** @type {Map<string, Value[]>} per indicator id, one value per bar */
    values = new Map();

    get first() {
        return this.bars[0]?.[0] ?? 0;
    }

    get last() {
        return this.bars.at(-1)?.[0] ?? 0;
    }

    clear() {
        this.bars = [];
        this.values.clear();
    }

    /** Replace everything with a snapshot. @param {Snapshot} snapshot */
    load(snapshot) {
        this.clear();
        this.#adopt(snapshot.history);
        this.apply(snapshot);
    }

    /** Continue with what closed while the connection was away. @param {Snapshot} snapshot */
    resume(snapshot) {
        const { bars, indicators } = snapshot.history ?? { bars: [], indicators: {} };
        bars.forEach((bar, row) => {
            const at = this.#place(bar);
            for (const [id, column] of Object.entries(indicators)) this.#set(id, at, column[row]);
        });
        this.apply(snapshot);
    }

    /** Put older bars in front. @param {History} page @returns {number} how many came */
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

    /** Number of older bars here that `others` lacks; negative when it has more. @param {BarRow[]} others */
    newInFront(others) {
        if (!others.length) return 0;
        const missing = others.findIndex(([ts]) => ts === this.first);
        return missing >= 0 ? -missing : Math.max(0, this.at(others[0][0]));
    }

    /** Take in one frame. @param {Update} update @returns {number[]} which bars changed, by index */
    apply(update) {
        const { ohlcv } = update;
        if (!ohlcv) return [];
        const { ts, open, high, low, close, volume } = ohlcv;
        const changed = new Set([this.#place([ts, open, high, low, close, volume])]);
        for (const [id, reading] of Object.entries(update.indicators)) {
            const at = this.at(reading?.ts ?? ts);
            if (at < 0) continue;
            this.#set(id, at, reading?.value ?? null);
            changed.add(at);
        }
        return [...changed].sort((a, b) => a - b);
    }

    /** @param {string} id */
    drop(id) {
        this.values.delete(id);
    }

    /** Index of the bar that opened at a time, -1 when there is none. @param {number} ts */
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

    /** @param {string} id @param {number} index @returns {Value} */
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
        const after = bar[0] > this.last ? this.bars.length : this.bars.findIndex(([ts]) => ts > bar[0]);
        this.bars.splice(after, 0, bar);
        for (const column of this.values.values()) column.splice(after, 0, null);
        return after;
    }

    /** @param {string} id @param {number} index @param {Value | undefined} value */
    #set(id, index, value) {
        const column = this.values.get(id) ?? this.bars.map(() => null);
        this.values.set(id, column);
        column[index] = value ?? null;
    }
}
