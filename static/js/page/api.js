// @ts-check
/** Reads over HTTP, with the problem documents of the server as errors. */
import { ClientError } from "../client/errors.js";

/** @typedef {{symbol: string, name: string, exchange: string, kind: string, currency: string, tick_size?: string | number, timezone?: string}} Instrument */
/** @typedef {{name: string, type: "int" | "float" | "choice", default: any, min?: number, max?: number, choices?: string[], primary?: boolean}} Param */
/** @typedef {{name: string, title?: string, category: string, pane: "overlay" | "pane", params: Param[], parts: string[], warmup?: number, kernel?: string, convention?: string}} Entry */

/** @param {string} path @param {Record<string, string | number>} [query] @returns {Promise<any>} */
export async function get(path, query = {}) {
    const url = new URL(path, location.origin);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    let reply;
    try {
        reply = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } });
    } catch {
        throw new ClientError("unavailable", "the server does not answer", true);
    }
    const body = await reply.json().catch(() => null);
    if (reply.ok) return body;
    const text = body?.detail ?? body?.title ?? `HTTP ${reply.status}`;
    throw new ClientError(body?.code ?? "unavailable", text, reply.status >= 500 || reply.status === 429);
}

/** Lists come bare or under a name. @param {any} body @param {string} name @returns {any[]} */
const rows = (body, name) => (Array.isArray(body) ? body : (body?.[name] ?? body?.results ?? []));

/** @param {string} search @returns {Promise<Instrument[]>} */
export async function searchSymbols(search) {
    return rows(await get("/api/market/symbols", search ? { search } : {}), "symbols");
}

/** @returns {Promise<Entry[]>} */
export async function catalogue() {
    return rows(await get("/indicators/catalogue"), "indicators");
}

/** Bars before a moment with the values of indicators. @param {string} symbol @param {string} timeframe @param {string[]} ids
 * @param {number} limit @param {number} before @returns {Promise<import("../client/types.js").History>} */
export function olderBars(symbol, timeframe, ids, limit, before) {
    /** @type {Record<string, string | number>} */
    const query = { timeframe, limit, before };
    if (ids.length) query.indicators = ids.join(",");
    return get(`/indicators/${encodeURIComponent(symbol)}/history`, query);
}
