// @ts-check
/** Chart and watch list may want the same pair of this session; a pair goes only when nobody on the page wants it. */

/** @typedef {import("../stocksblitz-client.js").StocksBlitzClient} Client */

export class Streams {
    /** @type {Map<string, Map<string, Set<string>>>} pair -> owner -> indicator ids */
    #wants = new Map();

    /** @param {Client} client */
    constructor(client) {
        this.client = client;
    }

    /** @param {string} owner @param {string} symbol @param {string} timeframe @param {string[]} ids @param {number} history */
    async want(owner, symbol, timeframe, ids, history) {
        const pair = `${symbol}|${timeframe}`;
        const owners = this.#wants.get(pair) ?? new Map();
        this.#wants.set(pair, owners);
        const wanted = owners.get(owner) ?? new Set();
        owners.set(owner, new Set([...wanted, ...ids]));
        try {
            return await this.client.subscribe(symbol, timeframe, ids, { history });
        } catch (error) {
            if (owners.get(owner)) ids.forEach((id) => !wanted.has(id) && owners.get(owner).delete(id));
            throw error;
        }
    }

    /** Drop some indicators of an owner. @param {string} owner @param {string} symbol @param {string} timeframe @param {string[]} ids */
    async release(owner, symbol, timeframe, ids) {
        ids.forEach((id) => this.#wants.get(`${symbol}|${timeframe}`)?.get(owner)?.delete(id));
        await this.client.unsubscribe(symbol, timeframe, ids);
    }

    /** The owner has no use for the pair any more. @param {string} owner @param {string} symbol @param {string} timeframe */
    async leave(owner, symbol, timeframe) {
        const pair = `${symbol}|${timeframe}`;
        const owners = this.#wants.get(pair);
        const ids = [...(owners?.get(owner) ?? [])];
        if (!owners?.delete(owner)) return;
        if (!owners.size) {
            this.#wants.delete(pair);
            await this.client.unsubscribe(symbol, timeframe);
        } else if (ids.length) {
            await this.client.unsubscribe(symbol, timeframe, ids);
        }
    }
}
