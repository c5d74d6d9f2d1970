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

    /** Drop some indicators of an owner; the bars of the pair go on. @param {string} owner @param {string} symbol
     * @param {string} timeframe @param {string[]} ids */
    async release(owner, symbol, timeframe, ids) {
        const owners = this.#wants.get(`${symbol}|${timeframe}`);
        ids.forEach((id) => owners?.get(owner)?.delete(id));
        const last = ![...(owners?.values() ?? [])].some((wanted) => wanted.size);
        // A pair without indicators is dropped, unless its bars are wanted for themselves.
        const kept = last ? this.client.subscribe(symbol, timeframe, []) : null;
        await Promise.all([kept, this.client.unsubscribe(symbol, timeframe, ids)]);
    }

    /** The owner has no use for the pair any more. @param {string} owner @param {string} symbol @param {string} timeframe */
    async leave(owner, symbol, timeframe) {
        const pair = `${symbol}|${timeframe}`;
        const owners = this.#wants.get(pair);
        const ids = [...(owners?.get(owner) ?? [])];
        if (!owners?.has(owner)) return;
        if (owners.size === 1) {
            this.#wants.delete(pair);
            return void (await this.client.unsubscribe(symbol, timeframe));
        }
        const released = ids.length ? this.release(owner, symbol, timeframe, ids) : null;
        owners.delete(owner);
        await released;
    }
}
