// @ts-check
/** Numbers and times as a trader reads them. */

const EN = "en-US";
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

/** @param {string | undefined} exchange */
export const zoneOf = (exchange) => ZONES[exchange ?? ""] ?? "UTC";
/** @param {string | undefined} exchange */
export const exchangeName = (exchange) => EXCHANGES[exchange ?? ""] ?? exchange ?? "";

/** Digits after the point that a tick size needs. @param {number | string | undefined} tick */
export function digitsOf(tick) {
    const size = Number(tick);
    if (!(size > 0)) return 2;
    for (let digits = 0; digits < 10; digits += 1) {
        if (Math.abs(Math.round(size * 10 ** digits) / 10 ** digits - size) < 1e-12) return digits;
    }
    return 10;
}

/** A true minus, as wide as a plus. @param {string} text */
const minus = (text) => text.replace("-", "−");

/** @param {number | null | undefined} value @param {number} [digits] */
export function number(value, digits = 2) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    return minus(value.toLocaleString(EN, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
}

/** With a sign, a true minus. @param {number | null | undefined} value @param {number} [digits] */
export function signed(value, digits = 2) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    const sign = value > 0 ? "+" : value < 0 ? "−" : "";
    return sign + number(Math.abs(value), digits);
}

/** @param {number | null | undefined} value */
export function compact(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    if (Math.abs(value) < 1000) return number(value, Number.isInteger(value) ? 0 : 2);
    return minus(value.toLocaleString(EN, { notation: "compact", minimumFractionDigits: 2, maximumFractionDigits: 2 }));
}

/** With so many digits, unless that would be longer than an axis is wide. @param {number | null | undefined} value @param {number} digits */
export const fixed = (value, digits) => (Math.abs(value ?? 0) >= 1e7 ? compact(value) : number(value, digits));

/** As many digits as a value of this size deserves. @param {number | null | undefined} value @param {number} [least] */
export function reading(value, least = 2) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    const size = Math.abs(value);
    if (size >= 1e7) return compact(value);
    return number(value, Math.max(least, size === 0 || size >= 1 ? 0 : Math.min(8, 2 - Math.floor(Math.log10(size)))));
}

/** @param {string} zone @param {Intl.DateTimeFormatOptions} options */
function formatter(zone, options) {
    return new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options });
}

/** Ways to write a moment of a zone; each takes milliseconds. @param {string} zone */
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

/** How far a zone is ahead of UTC at a moment, in milliseconds. @param {string} zone @param {number} at */
export function zoneOffset(zone, at) {
    /** @type {Intl.DateTimeFormatOptions} */
    const options = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", hourCycle: "h23" };
    const parts = new Intl.DateTimeFormat(EN, { timeZone: zone, ...options }).formatToParts(at);
    const [year, month, day, hour, minute] = ["year", "month", "day", "hour", "minute"].map((type) => Number(parts.find((part) => part.type === type)?.value));
    return Date.UTC(year, month - 1, day, hour, minute) - Math.floor(at / 60_000) * 60_000;
}

/** "IST", "EST", "UTC", "GMT+9" …; Intl names India's zone only by its offset. @param {string} zone */
export function zoneName(zone) {
    if (zone === "UTC") return "UTC";
    if (zone === "Asia/Kolkata") return "IST";
    const parts = new Intl.DateTimeFormat(EN, { timeZone: zone, timeZoneName: "short" }).formatToParts(Date.now());
    return parts.find((part) => part.type === "timeZoneName")?.value ?? zone;
}

/** Up, down or neither, as a class name. @param {number | null | undefined} change */
export const direction = (change) => (change ? (change > 0 ? "up" : "down") : "flat");
