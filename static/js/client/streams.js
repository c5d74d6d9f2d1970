// @ts-check
/** @typedef {import("./types.js").Update} Update */

/** @param {{symbol: string, timeframe: string}} stream */
export const pairOf = ({ symbol, timeframe }) => `${symbol}|${timeframe}`;

/** One symbol and timeframe of this session, and the last frame received of it. */
export class Stream {
    /** @type {Set<string>} */ indicators = new Set();
    /** Subscribed without indicators too, so the stream stays when its last indicator goes. */
    bars = false;
    /** Opening time of the last closed bar received; 0: none. */
    lastClosed = 0;
    seq = 0;
    #epoch = "";

    /** @param {string} symbol @param {string} timeframe */
    constructor(symbol, timeframe) {
        this.symbol = symbol;
        this.timeframe = timeframe;
    }

    /** Start from a snapshot. @param {import("./types.js").Snapshot} message */
    begin({ epoch, seq, history, ohlcv }) {
        this.#epoch = epoch;
        this.seq = seq;
        const forming = ohlcv ? (ohlcv.closed ? ohlcv.ts : ohlcv.ts - 1) : 0;
        this.lastClosed = Math.max(this.lastClosed, history?.bars.at(-1)?.[0] ?? 0, forming);
    }

    /** Number of frames missing before this one; negative when it was received already. @param {Update} message */
    missingBefore({ epoch, seq }) {
        return epoch === this.#epoch ? seq - this.seq - 1 : 0;
    }

    /** @param {Update} message */
    advance({ epoch, seq, ohlcv }) {
        this.#epoch = epoch;
        this.seq = seq;
        if (ohlcv?.closed) this.lastClosed = Math.max(this.lastClosed, ohlcv.ts);
    }

    /** Skip the frames that `lagged` names. @param {import("./types.js").Lagged} message */
    skip({ from_seq, to_seq }) {
        if (from_seq <= this.seq + 1) this.seq = Math.max(this.seq, to_seq);
    }
}

/** The streams that this session is subscribed to. */
export class Streams {
    /** @type {Map<string, Stream>} */ #streams = new Map();

    get size() {
        return this.#streams.size;
    }

    values() {
        return [...this.#streams.values()];
    }

    /** @param {{symbol: string, timeframe: string}} of */
    get(of) {
        return this.#streams.get(pairOf(of));
    }

    /** The server confirmed a subscription. @param {import("./types.js").Subscription} subscribed @param {boolean} bars */
    confirm({ symbol, timeframe, indicators }, bars) {
        const stream = this.get({ symbol, timeframe }) ?? new Stream(symbol, timeframe);
        stream.indicators = new Set(indicators);
        stream.bars ||= bars;
        this.#streams.set(pairOf(stream), stream);
    }

    /** What is left out stands for all. @param {string} [symbol] @param {string} [timeframe] @param {string[]} [indicators] */
    forget(symbol, timeframe, indicators) {
        for (const [pair, stream] of this.#streams) {
            if ((symbol && stream.symbol !== symbol) || (timeframe && stream.timeframe !== timeframe)) continue;
            indicators?.forEach((id) => stream.indicators.delete(id));
            if (!indicators || (!stream.indicators.size && !stream.bars)) this.#streams.delete(pair);
        }
    }
}
