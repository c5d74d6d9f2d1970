// @ts-check
/** How each indicator is drawn: which parts, as what, in which colour, with which guides. What is not listed here is drawn
 * as one line per part. */

/** @typedef {import("./api.js").Entry} Entry */
/**
 * @typedef {object} Plot
 * @property {string} part "" for an indicator with a single value
 * @property {"line" | "histogram" | "dots"} shape
 * @property {string} color a hex colour, or the name of a theme token: "up", "down"
 * @property {boolean} dashed
 * @property {boolean} broken gaps stay gaps
 */

/** Colours that stay apart from each other, and readable, on light and dark. */
export const PALETTE = ["#5b8def", "#e5a23b", "#b678e8", "#35b5d8", "#93ab37", "#d9769f", "#8f8ce8", "#c98b5e"];

/** @type {Record<string, Record<string, Partial<Plot> | null>>} null: not drawn */
const SPECIAL = {
    MACD: { MACDh: { shape: "histogram" } },
    MACDEXT: { MACDh: { shape: "histogram" } },
    PPO: { PPOh: { shape: "histogram" } },
    PVO: { PVOh: { shape: "histogram" } },
    AO: { "": { shape: "histogram" } },
    BBANDS: { BBM: { dashed: true }, BBB: null, BBP: null },
    ACCBANDS: { ACCBM: { dashed: true } },
    KC: { KCB: { dashed: true } },
    DONCHIAN: { DCM: { dashed: true } },
    SUPERTREND: { SUPERT: null, SUPERTd: null, SUPERTl: { color: "up", broken: true }, SUPERTs: { color: "down", broken: true } },
    PSAR: { PSARl: { shape: "dots", color: "up" }, PSARs: { shape: "dots", color: "down" }, PSARaf: null, PSARr: null },
    HILO: { HILO: null, HILOl: { color: "up", broken: true }, HILOs: { color: "down", broken: true } },
    ADX: { DMP: { color: "up" }, DMN: { color: "down" } },
    SQUEEZE: { SQZ: { shape: "histogram" }, SQZ_ON: null, SQZ_OFF: null, SQZ_NO: null },
    SQUEEZE_PRO: { SQZPRO: { shape: "histogram" } },
};

/** The same band in one colour: its edges belong together. */
const ONE_COLOR = new Set(["BBANDS", "ACCBANDS", "KC", "DONCHIAN", "HWC", "TOS_STDEVALL"]);

/** @type {Record<string, number[]>} */
const GUIDES = {
    RSI: [70, 30],
    STOCH: [80, 20],
    STOCHF: [80, 20],
    STOCHRSI: [80, 20],
    KDJ: [80, 20],
    MFI: [80, 20],
    CCI: [100, -100],
    WILLR: [-20, -80],
    CMO: [50, -50],
    UO: [70, 30],
    ADX: [25],
    AROON: [70, 30],
    CHOP: [61.8, 38.2],
};

/** @param {Entry} entry */
export const guides = (entry) => GUIDES[entry.name] ?? [];

/** @param {Entry} entry @param {number} color index of its first colour @returns {Plot[]} */
export function plots(entry, color) {
    const parts = entry.parts.length > 1 ? entry.parts : [""];
    const special = SPECIAL[entry.name] ?? {};
    const shared = ONE_COLOR.has(entry.name);
    return parts.flatMap((part, index) => {
        const given = special[part];
        if (given === null) return [];
        const own = PALETTE[(color + (shared ? 0 : index)) % PALETTE.length];
        return [{ part, shape: /** @type {const} */ ("line"), color: own, dashed: false, broken: false, ...given }];
    });
}

/** How many colours an indicator uses up. @param {Entry} entry */
export const colorsUsed = (entry) => (ONE_COLOR.has(entry.name) ? 1 : Math.max(1, Math.min(3, entry.parts.length)));

/** The number of a part, or of the whole value. @param {import("./model.js").Value} value @param {string} part
 * @returns {number | null} */
export function partOf(value, part) {
    if (value === null || value === undefined) return null;
    if (typeof value === "number") return value;
    return (part ? value[part] : Object.values(value)[0]) ?? null;
}

/** The parameters that its name shows: all primary ones, others up to the last that is not its default. @param {Entry} entry
 * @param {Record<string, any>} params @returns {string[]} */
function shown(entry, params) {
    const values = entry.params.map((param) => params[param.name] ?? param.default);
    const count = entry.params.reduce((most, param, at) => (param.primary || values[at] !== param.default ? at + 1 : most), 0);
    return values.slice(0, count).map(written);
}

/** Numbers as ids write them: never with an exponent. @param {string | number} value */
function written(value) {
    if (typeof value !== "number" || Number.isInteger(value)) return String(value);
    return value.toFixed(8).replace(/\.?0+$/, "");
}

/** The id under which the server computes it: NAME_p1_p2… in the catalogue's order. @param {Entry} entry
 * @param {Record<string, any>} params */
export const idOf = (entry, params) => [entry.name, ...shown(entry, params)].join("_");

/** What a person reads: "MACD 12 26 9". @param {Entry} entry @param {Record<string, any>} params */
export const labelOf = (entry, params) => [entry.name, ...shown(entry, params)].join(" ");
