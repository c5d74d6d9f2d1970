// @ts-check
/** Functions that format numbers and times for traders. */

const EN = "en-US";
/** Text of a value that is not known. */
export const NONE = "–";

const ZONES = /** @type {Record<string, string>} */ ({
    XNSE: "Asia/Kolkata",
    XBOM: "Asia/Kolkata",
    XNYS: "America/New_York",
    XNAS: "America/New_York",
    XCME: "America/Chicago",
    XLON: "Europe/London",
    XTKS: "Asia/Tokyo",
    XHKG: "Asia/Hong_Kong",
    "24x5": "America/New_York",
    "24x7": "UTC",
});

const EXCHANGES = /** @type {Record<string, string>} */ ({
    XNSE: "NSE",
    XBOM: "BSE",
    XNYS: "NYSE",
    XNAS: "NASDAQ",
    XCME: "CME",
    XLON: "LSE",
    "24x5": "Forex",
    "24x7": "24/7",
});

/** Return the time zone of an exchange, else UTC. @param {string | undefined} exchange */
export const zoneOf = (exchange) => ZONES[exchange ?? ""] ?? "UTC";
/** Return the common name of an exchange, else its code. @param {string | undefined} exchange */
export const exchangeName = (exchange) => EXCHANGES[exchange ?? ""] ?? exchange ?? "";

/** Return the number of decimal places of a tick size. @param {number | string | undefined} tick */
export function digitsOf(tick) {
    const size = Number(tick);
    if (!(size > 0)) return 2;
    for (let digits = 0; digits < 10; digits += 1) {
        if (Math.abs(Math.round(size * 10 ** digits) / 10 ** digits - size) < 1e-12) return digits;
    }
    return 10;
}

/** Replace the hyphen by the minus sign, which is as wide as a plus. @param {string} text */
const minus = (text) => text.replace("-", "−");

/** Format a number with grouped thousands. @param {number | null | undefined} value @param {number} [digits] decimal places */
export function number(value, digits = 2) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    return minus(value.toLocaleString(EN, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
}

/** Format a number with its sign; zero has none. @param {number | null | undefined} value @param {number} [digits] decimal places */
export function signed(value, digits = 2) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    const sign = value > 0 ? "+" : value < 0 ? "−" : "";
    return sign + number(Math.abs(value), digits);
}

/** Format a large number in short form, such as 12.45M. @param {number | null | undefined} value */
export function compact(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    if (Math.abs(value) < 1000) return number(value, Number.isInteger(value) ? 0 : 2);
    return minus(value.toLocaleString(EN, { notation: "compact", minimumFractionDigits: 2, maximumFractionDigits: 2 }));
}

/** Format with this number of decimal places, or in short form when the text would be wider than an axis.
 * @param {number | null | undefined} value @param {number} digits */
export const fixed = (value, digits) => (Math.abs(value ?? 0) >= 1e7 ? compact(value) : number(value, digits));

/** Format with three significant digits, and at least `least` decimal places. @param {number | null | undefined} value @param {number} [least] */
export function significant(value, least = 2) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    const size = Math.abs(value);
    if (size >= 1e7) return compact(value);
    return number(value, Math.max(least, size === 0 || size >= 1 ? 0 : Math.min(8, 2 - Math.floor(Math.log10(size)))));
}

/** @param {string} zone @param {Intl.DateTimeFormatOptions} options */
function formatter(zone, options) {
    return new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options });
}

/** Return functions that format a time (UTC, in ms) by the clock of a zone. @param {string} zone */
export function clock(zone) {
    const full = formatter(zone, { weekday: "short", day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
    const day = formatter(zone, { weekday: "short", day: "2-digit", month: "short", year: "numeric" });
    const time = formatter(zone, { hour: "2-digit", minute: "2-digit" });
    const seconds = formatter(zone, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const date = formatter(zone, { day: "numeric", month: "short" });
    const month = formatter(zone, { month: "short" });
    const year = formatter(zone, { year: "numeric" });
    return {
        full: (/** @type {number} */ ms) => full.format(ms),
        day: (/** @type {number} */ ms) => day.format(ms),
        time: (/** @type {number} */ ms) => time.format(ms),
        seconds: (/** @type {number} */ ms) => seconds.format(ms),
        date: (/** @type {number} */ ms) => date.format(ms),
        month: (/** @type {number} */ ms) => month.format(ms),
        year: (/** @type {number} */ ms) => year.format(ms),
    };
}

/** Return the offset of a zone from UTC at a time, both in milliseconds. @param {string} zone @param {number} at */
export function zoneOffset(zone, at) {
    /** @type {Intl.DateTimeFormatOptions} */
    const options = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", hourCycle: "h23" };
    const parts = new Intl.DateTimeFormat(EN, { timeZone: zone, ...options }).formatToParts(at);
    const [year, month, day, hour, minute] = ["year", "month", "day", "hour", "minute"].map((type) => Number(parts.find((part) => part.type === type)?.value));
    return Date.UTC(year, month - 1, day, hour, minute) - Math.floor(at / 60_000) * 60_000;
}

/** Return the short name of a zone, such as "EST" or "GMT+9"; IST is added here because Intl lacks it. @param {string} zone */
export function zoneName(zone) {
    if (zone === "UTC") return "UTC";
    if (zone === "Asia/Kolkata") return "IST";
    const parts = new Intl.DateTimeFormat(EN, { timeZone: zone, timeZoneName: "short" }).formatToParts(Date.now());
    return parts.find((part) => part.type === "timeZoneName")?.value ?? zone;
}

/** Return the CSS class of a change: up, down or flat. @param {number | null | undefined} change */
export const direction = (change) => (change ? (change > 0 ? "up" : "down") : "flat");
