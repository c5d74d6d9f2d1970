// @ts-check
/** Functions that format money, levels and times. Amounts arrive as decimal strings; they are formatted here, never computed. */
import { clock } from "../page/format.js";

/** Time zone of the user, because one account trades on exchanges of many zones. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const { date, seconds } = clock(ZONE);

/** Format a time as date and time of day. @param {number} ms */
export const when = (ms) => `${date(ms)}, ${seconds(ms)}`;

/** Format an amount with grouped thousands. @param {string | null | undefined} amount @returns {string} */
export function money(amount) {
    if (amount === null || amount === undefined) return "–";
    const [, sign, whole, rest] = /^(-?)(\d+)(\..*)?$/.exec(amount) ?? [];
    if (whole === undefined) return amount;
    return `${sign ? "−" : ""}${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${rest ?? ""}`;
}

/** Format an amount with its sign; zero has none. @param {string | null | undefined} amount */
export const signed = (amount) => (amount && !amount.startsWith("-") && Number(amount) ? `+${money(amount)}` : money(amount));

/** Return the CSS class of a gain or a loss. @param {string | null | undefined} amount */
export const tone = (amount) => (!amount || !Number(amount) ? "flat" : amount.startsWith("-") ? "down" : "up");
