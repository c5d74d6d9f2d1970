// @ts-check
/** Drawing rules of the indicators: the parts that are drawn, with their shapes, colours and guides. An indicator without a
 * rule is drawn as one line per part. */

/** @typedef {import("../page/api.js").Entry} Entry */
/**
 * @typedef {object} Plot
 * @property {string} part name of the part; empty for an indicator with a single value
 * @property {"line" | "histogram" | "dots"} shape
 * @property {string} color name of a theme token
 * @property {boolean} dashed
 * @property {boolean} broken whether gaps between values stay empty
 */

/** Theme tokens of colours that are easy to tell apart; each theme has shades that are readable on its background. */
export const PALETTE = Array.from({ length: 8 }, (_, at) => `plot-${at + 1}`);

/** @type {Partial<Plot>} */ const BARS = { shape: "histogram" };
/** @type {Partial<Plot>} */ const MIDDLE = { dashed: true };
/** @type {Partial<Plot>} */ const UP = { color: "up" };
/** @type {Partial<Plot>} */ const DOWN = { color: "down" };
/** @type {Partial<Plot>} */ const UP_STEP = { color: "up", broken: true };
/** @type {Partial<Plot>} */ const DOWN_STEP = { color: "down", broken: true };
/** @type {Partial<Plot>} */ const RESISTANCE = { color: "down", dashed: true };
/** @type {Partial<Plot>} */ const SUPPORT = { color: "up", dashed: true };

/** Parts with a special rule; null means that the part is not drawn, because its scale or meaning differs.
 * @type {Record<string, Record<string, Partial<Plot> | null>>} */
const SPECIAL = {
    MACD: { MACDh: BARS },
    PPO: { PPOh: BARS },
    PVO: { PVOh: BARS },
    SMI: { SMIo: BARS },
    AO: { "": BARS },
    BOP: { "": BARS },
    INCREASING: { "": BARS },
    DECREASING: { "": BARS },
    TTM_TREND: { "": BARS },
    EXHC: { EXHC_DN: BARS, EXHC_UP: BARS },
    ERI: { BULLP: BARS, BEARP: BARS },
    SQUEEZE: { SQZ: BARS, SQZ_ON: null, SQZ_OFF: null, SQZ_NO: null },
    SQUEEZE_PRO: { SQZPRO: BARS, SQZPRO_ON_WIDE: null, SQZPRO_ON_NORMAL: null, SQZPRO_ON_NARROW: null, SQZPRO_OFF: null, SQZPRO_NO: null },
    BBANDS: { BBM: MIDDLE, BBB: null, BBP: null },
    ACCBANDS: { ACCBM: MIDDLE },
    KC: { KCB: MIDDLE },
    DONCHIAN: { DCM: MIDDLE },
    HWC: { HWM: MIDDLE, HWW: null, HWPCT: null },
    ABERRATION: { ABER_ZG: MIDDLE, ABER_ATR: null },
    TOS_STDEVALL: { LR: MIDDLE },
    SUPERTREND: { SUPERT: null, SUPERTd: null, SUPERTl: UP_STEP, SUPERTs: DOWN_STEP },
    HILO: { HILO: null, HILOl: UP_STEP, HILOs: DOWN_STEP },
    QQE: { QQEl: UP_STEP, QQEs: DOWN_STEP },
    PSAR: { PSARl: { shape: "dots", color: "up" }, PSARs: { shape: "dots", color: "down" }, PSARaf: null, PSARr: null },
    CHANDELIER_EXIT: { CHDLREXTl: UP_STEP, CHDLREXTs: DOWN_STEP, CHDLREXTd: null },
    CKSP: { CKSPl: UP, CKSPs: DOWN },
    ICHIMOKU: { ISA: UP, ISB: DOWN },
    PIVOTS: { S1: SUPPORT, S2: SUPPORT, S3: SUPPORT, S4: SUPPORT, R1: RESISTANCE, R2: RESISTANCE, R3: RESISTANCE, R4: RESISTANCE },
    HA: { HA_high: null, HA_low: null },
    ADX: { DMP: UP, DMN: DOWN },
    DM: { DMP: UP, DMN: DOWN },
    VORTEX: { VTXP: UP, VTXM: DOWN },
    RWI: { RWIh: UP, RWIl: DOWN },
    AROON: { AROOND: DOWN, AROONU: UP, AROONOSC: null },
    STC: { STCmacd: null, STCstoch: null },
    THERMO: { THERMOl: null, THERMOs: null },
    AOBV: { AOBV_LR: null, AOBV_SR: null },
    DRAWDOWN: { DD: null, DD_LOG: null },
};

/** Bands whose lines all have one colour, because they belong together. */
const ONE_COLOR = new Set(["BBANDS", "ACCBANDS", "KC", "DONCHIAN", "HWC", "ABERRATION", "TOS_STDEVALL"]);

/** Values at which a horizontal guide is drawn. @type {Record<string, number[]>} */
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

/** Return the guides of an indicator. @param {Entry} entry */
export const guides = (entry) => GUIDES[entry.name] ?? [];

/** Return the plots of an indicator. @param {Entry} entry @param {number} color index of its first colour in the palette @returns {Plot[]} */
export function plots(entry, color) {
    const parts = entry.parts.length ? entry.parts : [""];
    const special = SPECIAL[entry.name] ?? (entry.category === "candle" && entry.pane === "pane" ? { "": BARS } : {});
    const step = ONE_COLOR.has(entry.name) ? 0 : 1;
    let next = color;
    return parts.flatMap((part) => {
        const rule = special[part];
        if (rule === null) return [];
        /** @type {Plot} */
        const plot = { part, shape: "line", color: PALETTE[next % PALETTE.length], dashed: false, broken: false, ...rule };
        if (!rule?.color && plot.shape !== "histogram") next += step;
        return [plot];
    });
}

/** Return how many colours of the palette an indicator uses. @param {Entry} entry */
export function colorsUsed(entry) {
    const own = plots(entry, 0).filter((plot) => PALETTE.includes(plot.color) && plot.shape !== "histogram");
    return new Set(own.map((plot) => plot.color)).size;
}

/** Return the number of a part of a value, or the value itself if it is a number. @param {import("./model.js").Value} value @param {string} part
 * @returns {number | null} */
export function partOf(value, part) {
    if (value === null || value === undefined) return null;
    if (typeof value === "number") return value;
    return value[part] ?? null;
}

/** Return the parameters that the id contains: all primary ones, and the others up to the last one that differs from its
 * default. @param {Entry} entry @param {Record<string, any>} params @returns {string[]} */
function shown(entry, params) {
    const values = entry.params.map((param) => params[param.name] ?? param.default);
    const count = entry.params.reduce((most, param, index) => (param.primary || values[index] !== param.default ? index + 1 : most), 0);
    return values.slice(0, count).map(written);
}

/** Format a parameter as in ids: without an exponent. @param {string | number} value */
function written(value) {
    if (typeof value !== "number" || Number.isInteger(value)) return String(value);
    return value.toFixed(8).replace(/\.?0+$/, "");
}

/** Return the server's id of an indicator: NAME_p1_p2… in the order of the catalogue. @param {Entry} entry
 * @param {Record<string, any>} params */
export const idOf = (entry, params) => [entry.name, ...shown(entry, params)].join("_");

/** Return the label of an indicator, such as "MACD 12 26 9". @param {Entry} entry @param {Record<string, any>} params */
export const labelOf = (entry, params) => [entry.name, ...shown(entry, params)].join(" ");
