// @ts-check
/** Layout of this tab. It is kept per tab, and a new tab begins with the last one used. */

/** @typedef {{name: string, params: Record<string, any>, color: number}} Placed  indicator on the chart */
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

/** Load the layout of this tab, else the last one used, else the default. @returns {Layout} */
export function loadLayout() {
    const saved = read(sessionStorage) ?? read(localStorage) ?? {};
    const layout = { ...FRESH, ...saved };
    if (!Array.isArray(layout.indicators)) layout.indicators = [];
    if (!Array.isArray(layout.watch)) layout.watch = [];
    return layout;
}

/** Save the layout for this tab and for new tabs. @param {Layout} layout */
export function saveLayout(layout) {
    const text = JSON.stringify(layout);
    for (const storage of [sessionStorage, localStorage]) {
        try {
            storage.setItem(KEY, text);
        } catch {
            // The page works without a full or forbidden storage; only the layout is lost.
        }
    }
}
