// @ts-check
/** The layout of this tab: kept per tab, and the last one used is what a new tab begins with. */

/** @typedef {{name: string, params: Record<string, any>, color: number}} Placed  an indicator on the chart */
/** @typedef {{symbol: string, timeframe: string, indicators: Placed[], watch: string[], zone: "exchange" | "utc"}} Layout */

const KEY = "stocksblitz.layout";
/** @type {Layout} */
const FRESH = { symbol: "", timeframe: "5min", indicators: [], watch: [], zone: "exchange" };

/** @param {Storage} storage @returns {Partial<Layout> | null} */
function read(storage) {
    try {
        return JSON.parse(storage.getItem(KEY) ?? "null");
    } catch {
        return null;
    }
}

/** @returns {Layout} */
export function loadLayout() {
    const saved = read(sessionStorage) ?? read(localStorage) ?? {};
    const layout = { ...FRESH, ...saved };
    if (!Array.isArray(layout.indicators)) layout.indicators = [];
    if (!Array.isArray(layout.watch)) layout.watch = [];
    return layout;
}

/** @param {Layout} layout */
export function saveLayout(layout) {
    const text = JSON.stringify(layout);
    for (const storage of [sessionStorage, localStorage]) {
        try {
            storage.setItem(KEY, text);
        } catch {
            // a full or forbidden storage costs the layout, not the page
        }
    }
}
