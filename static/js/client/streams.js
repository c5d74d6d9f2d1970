// @ts-check
/** @typedef {import("./types.js").Update} Update */

/** Return the text that identifies a stream in a map. @param {{symbol: string, timeframe: string}} stream */
export const streamKey = ({ symbol, timeframe }) => `${symbol}|${timeframe}`;

/** Stream that this session is subscribed to, with the position of the last frame received. */
export class Stream {
    /** @type {Set<string>} */ indicators = new Set();
    /** Whether the bars alone were subscribed to; the stream then stays when its last indicator is removed. */
    bars = false;
    /** Opening time of the last closed bar received, in ms; 0 when there is none. */
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

    /** Return the number of frames missing before this one; negative when it was received before. @param {Update} message */
    missingBefore({ epoch, seq }) {
        return epoch === this.#epoch ? seq - this.seq - 1 : 0;
    }

    /** Move the position to this frame. @param {Update} message */
    advance({ epoch, seq, ohlcv }) {
        this.#epoch = epoch;
        this.seq = seq;
        if (ohlcv?.closed) this.lastClosed = Math.max(this.lastClosed, ohlcv.ts);
    }

    /** Skip the frames that a `lagged` message names. @param {import("./types.js").Lagged} message */
    skip({ from_seq, to_seq }) {
        if (from_seq <= this.seq + 1) this.seq = Math.max(this.seq, to_seq);
    }
}

/** All streams that this session is subscribed to. */
export class Streams {
    /** @type {Map<string, Stream>} */ #streams = new Map();

    /** Number of streams. */
    get size() {
        return this.#streams.size;
    }

    /** Return all streams. */
    values() {
        return [...this.#streams.values()];
    }

    /** Return the stream of a symbol and timeframe. @param {{symbol: string, timeframe: string}} target */
    get(target) {
        return this.#streams.get(streamKey(target));
    }

    /** Add or change a stream as the server has confirmed it. @param {import("./types.js").Subscription} subscribed @param {boolean} bars */
    confirm({ symbol, timeframe, indicators }, bars) {
        const stream = this.get({ symbol, timeframe }) ?? new Stream(symbol, timeframe);
        stream.indicators = new Set(indicators);
        stream.bars ||= bars;
        this.#streams.set(streamKey(stream), stream);
    }

    /** Remove indicators or whole streams; an argument that is left out stands for all. @param {string} [symbol] @param {string} [timeframe]
     * @param {string[]} [indicators] */
    forget(symbol, timeframe, indicators) {
        for (const [key, stream] of this.#streams) {
            if ((symbol && stream.symbol !== symbol) || (timeframe && stream.timeframe !== timeframe)) continue;
            indicators?.forEach((id) => stream.indicators.delete(id));
            if (!indicators || (!stream.indicators.size && !stream.bars)) this.#streams.delete(key);
        }
    }
}
