// @ts-check
/** REST resources of the portfolio. Requests that move money carry an Idempotency-Key, so that a repetition has no effect. */
import { ClientError } from "../client/errors.js";
import { uuid } from "../client/session.js";
import { get } from "../page/api.js";

/** @typedef {{key: string, owner: string, currency: string, balance: string, leverage: number, state: string}} Account */
/** @typedef {{id: number, symbol: string, side: string, quantity: string, price: string, unrealized_pnl: string | null}} Position */
/** @typedef {{id: number, symbol: string, side: string, type: string, quantity: string, price: string, margin: string | null}} Order */
/** @typedef {{id: number, kind: string, text: string, created_at?: string, ts?: number}} Event */
/** @typedef {Event & {inputs: any}} Decision */
/**
 * @typedef {object} Snapshot
 * @property {string} account
 * @property {number} epoch
 * @property {number} version
 * @property {number} ts
 * @property {string} source name of the feed
 * @property {string} currency
 * @property {string} balance
 * @property {string | null} equity
 * @property {string | null} unrealized_pnl
 * @property {string | null} used_margin
 * @property {string | null} free_margin
 * @property {string | null} margin_level
 * @property {string} state
 * @property {boolean} stale
 * @property {string[]} missing
 * @property {string} margin_call_level
 * @property {string | null} margin_call_distance
 * @property {string | null} margin_call_price
 * @property {string} stop_out_level
 * @property {string | null} stop_out_distance
 * @property {string | null} stop_out_price
 * @property {Position[]} positions
 */

const ROOT = "/api/portfolio";

/** Return the path of an account. @param {string} account */
const path = (account) => `${ROOT}/accounts/${encodeURIComponent(account)}`;

function csrf() {
    const field = document.querySelector("input[name=csrfmiddlewaretoken]");
    return field instanceof HTMLInputElement ? field.value : "";
}

/** Send a request and return the JSON of the response. @param {string} method @param {string} url @param {any} [body]
 * @param {Record<string, string>} [headers] @returns {Promise<any>} */
async function send(method, url, body, headers = {}) {
    const reply = await fetch(url, {
        method,
        credentials: "same-origin",
        headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": csrf(), ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
    }).catch(() => null);
    if (!reply) throw new ClientError("unavailable", "the server did not answer; try again", true);
    const answer = await reply.json().catch(() => null);
    if (reply.ok) return answer;
    throw new ClientError(answer?.code ?? "unavailable", answer?.detail ?? `HTTP ${reply.status}`, reply.status >= 500);
}

/** Return the header that makes the server execute a request at most once. */
const once = () => ({ "Idempotency-Key": uuid() });

/** Read all accounts of the user. @returns {Promise<Account[]>} */
export const accounts = async () => (await get(`${ROOT}/accounts`, { limit: 200 })).results;

/** Read the pending orders of an account. @param {string} account @returns {Promise<Order[]>} */
export const pendingOrders = async (account) =>
    (await get(`${ROOT}/orders`, { account, status: "pending", limit: 200 })).results;

/** Read the engine's decisions about an account, newest first. @param {string} account @returns {Promise<Decision[]>} */
export const journal = async (account) => (await get(`${path(account)}/journal`, { limit: 50 })).results;

/** Read the equity curve of an account as (time in ms, equity), oldest first. @param {string} account @returns {Promise<[number, number][]>} */
export const equity = async (account) => (await get(`${path(account)}/equity`)).points;

/** Compute an account's snapshot for prices that have moved by these shares. @param {string} account
 * @param {Record<string, string>} shocks @returns {Promise<Snapshot>} */
export const whatIf = (account, shocks) => send("POST", `${path(account)}/what-if`, { shocks });

/** Place an order. @param {{account: string, symbol: string, side: string, quantity: string, type: string, price?: string}} order */
export const placeOrder = (order) => send("POST", `${ROOT}/orders`, order, once());

/** Cancel a pending order. @param {number} id */
export const cancelOrder = (id) => send("DELETE", `${ROOT}/orders/${id}`);

/** Close a position, or a part of it. @param {number} id @param {string} quantity an empty text closes all of it */
export const closePosition = (id, quantity) =>
    send("POST", `${ROOT}/positions/${id}/close`, quantity ? { quantity } : {}, once());

/** Get a ticket, which opens one socket. @returns {Promise<string>} */
export const ticket = async () => (await send("POST", "/auth/ws-ticket")).ticket;
