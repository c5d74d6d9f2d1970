// @ts-check
/** Money and levels as text. Amounts come as decimal strings and are only grouped here, never reckoned with. Times are those of
 * the person who looks: an account trades in many places. */
import { clock } from "../page/format.js";

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const { date, seconds } = clock(ZONE);

/** @param {number} ms */
export const when = (ms) => `${date(ms)}, ${seconds(ms)}`;

/** @param {string | null | undefined} amount @returns {string} */
export function money(amount) {
    if (amount === null || amount === undefined) return "–";
    const [, sign, whole, rest] = /^(-?)(\d+)(\..*)?$/.exec(amount) ?? [];
    if (whole === undefined) return amount;
    return `${sign ? "−" : ""}${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${rest ?? ""}`;
}

/** @param {string | null | undefined} amount */
export const signed = (amount) => (amount && !amount.startsWith("-") && Number(amount) ? `+${money(amount)}` : money(amount));

/** The class of a gain or a loss. @param {string | null | undefined} amount */
export const tone = (amount) => (!amount || !Number(amount) ? "flat" : amount.startsWith("-") ? "down" : "up");
