// @ts-check
/** Read the REST API. A problem document of the server becomes a ClientError. */
import { ClientError } from "../client/errors.js";

/** @typedef {{symbol: string, name: string, exchange: string, kind: string, currency: string, tick_size?: string | number, timezone?: string}} Instrument */
/** @typedef {{name: string, type: "int" | "float" | "choice", default: any, min?: number, max?: number, choices?: string[], primary?: boolean}} Param */
/** @typedef {{name: string, title?: string, category: string, pane: "overlay" | "pane", params: Param[], parts: string[], warmup?: number, kernel?: string, convention?: string}} Entry */

/** Read a resource and return its JSON. @param {string} path @param {Record<string, string | number>} [query] @returns {Promise<any>} */
export async function get(path, query = {}) {
    const url = new URL(path, location.origin);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    let reply;
    try {
        reply = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } });
    } catch {
        throw new ClientError("unavailable", "the server did not answer; try again", true);
    }
    const body = await reply.json().catch(() => null);
    if (reply.ok) return body;
    const text = body?.detail ?? body?.title ?? `HTTP ${reply.status}`;
    throw new ClientError(body?.code ?? "unavailable", text, reply.status >= 500 || reply.status === 429);
}

/** Return the rows of a list, which is the body itself or stands under a name. @param {any} body @param {string} name @returns {any[]} */
const rows = (body, name) => (Array.isArray(body) ? body : (body?.[name] ?? body?.results ?? []));

/** Find instruments by symbol or name; an empty text lists the first ones. @param {string} search @returns {Promise<Instrument[]>} */
export async function searchSymbols(search) {
    return rows(await get("/api/market/symbols", search ? { search } : {}), "symbols");
}

/** Read the catalogue of all indicators. @returns {Promise<Entry[]>} */
export async function catalogue() {
    return rows(await get("/indicators/catalogue"), "indicators");
}

/** Read the closed bars before a time, with the values of indicators. @param {string} symbol @param {string} timeframe
 * @param {string[]} ids @param {number} limit @param {number} before ms @returns {Promise<import("../client/types.js").History>} */
export function olderBars(symbol, timeframe, ids, limit, before) {
    /** @type {Record<string, string | number>} */
    const query = { timeframe, limit, before };
    if (ids.length) query.indicators = ids.join(",");
    return get(`/indicators/${encodeURIComponent(symbol)}/history`, query);
}
