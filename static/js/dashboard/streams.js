// @ts-check
/** Streams that several parts of the page use. The chart and the watch list may subscribe to the same stream, and the page
 * unsubscribes from it only when no part uses it any longer. */

import { streamKey } from "../client/streams.js";

/** @typedef {import("../stocksblitz-client.js").StocksBlitzClient} Client */

/** Subscriptions of the page, counted by owner: the part of the page that uses them. */
export class SharedStreams {
    /** Indicator ids by stream and owner. @type {Map<string, Map<string, Set<string>>>} */
    #owners = new Map();

    /** @param {Client} client */
    constructor(client) {
        this.client = client;
    }

    /** Subscribe an owner to indicators of a stream. @param {string} owner @param {string} symbol @param {string} timeframe
     * @param {string[]} ids @param {number} history number of closed bars in the snapshot */
    async subscribe(owner, symbol, timeframe, ids, history) {
        const key = streamKey({ symbol, timeframe });
        const owners = this.#owners.get(key) ?? new Map();
        this.#owners.set(key, owners);
        const before = owners.get(owner) ?? new Set();
        owners.set(owner, new Set([...before, ...ids]));
        try {
            return await this.client.subscribe(symbol, timeframe, ids, { history });
        } catch (error) {
            if (owners.get(owner)) ids.forEach((id) => !before.has(id) && owners.get(owner).delete(id));
            throw error;
        }
    }

    /** Unsubscribe an owner from indicators; the bars of the stream continue. @param {string} owner @param {string} symbol
     * @param {string} timeframe @param {string[]} ids */
    async release(owner, symbol, timeframe, ids) {
        const owners = this.#owners.get(streamKey({ symbol, timeframe }));
        ids.forEach((id) => owners?.get(owner)?.delete(id));
        const isLast = ![...(owners?.values() ?? [])].some((used) => used.size);
        // The server removes a stream without indicators, unless its bars have been subscribed to.
        const bars = isLast ? this.client.subscribe(symbol, timeframe, []) : null;
        await Promise.all([bars, this.client.unsubscribe(symbol, timeframe, ids)]);
    }

    /** Remove an owner from a stream; the last one ends the subscription. @param {string} owner @param {string} symbol
     * @param {string} timeframe */
    async leave(owner, symbol, timeframe) {
        const key = streamKey({ symbol, timeframe });
        const owners = this.#owners.get(key);
        const ids = [...(owners?.get(owner) ?? [])];
        if (!owners?.has(owner)) return;
        if (owners.size === 1) {
            this.#owners.delete(key);
            return void (await this.client.unsubscribe(symbol, timeframe));
        }
        const released = ids.length ? this.release(owner, symbol, timeframe, ids) : null;
        owners.delete(owner);
        await released;
    }
}
