// @ts-check
/** Credentials of the socket: a token, or a one-time ticket that the cookie login gets from the server. */
import { ClientError } from "./errors.js";

/** @typedef {import("./types.js").Options} Options */

const ANSWER_WITHIN_MS = 20_000;

function csrfToken() {
    const cookie = document.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/);
    return cookie ? decodeURIComponent(cookie[1]) : "";
}

/** Return the token, calling the function that was given in its place. @param {Options["token"]} token @returns {Promise<string>} */
export async function freshToken(token) {
    return typeof token === "function" ? token() : (token ?? "");
}

/** Get a ticket for one socket. @param {string} base @returns {Promise<string>} */
async function freshTicket(base) {
    const reply = await fetch(new URL("/auth/ws-ticket", base), {
        method: "POST",
        credentials: "same-origin",
        headers: { "X-CSRFToken": csrfToken(), Accept: "application/json" },
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
    if (reply.ok) return (await reply.json()).ticket;
    const refused = reply.status === 401 || reply.status === 403;
    throw new ClientError(refused ? "not_authenticated" : "unavailable", `the server gave no ticket (HTTP ${reply.status})`, !refused);
}

/** Return the socket's address with a fresh credential in it. @param {Options} options @param {string} sessionId @returns {Promise<string>} */
export async function socketUrl({ url: server, token }, sessionId) {
    const base = server ?? globalThis.location.origin;
    const url = new URL("/ws/indicators", base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("session_id", sessionId);
    if (token) url.searchParams.set("token", await freshToken(token));
    else url.searchParams.set("ticket", await freshTicket(base));
    return url.href;
}
