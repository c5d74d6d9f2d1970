// @ts-check
/** Light and dark theme: the system's preference applies until the user chooses one. */

const KEY = "stocksblitz.theme";
const root = document.documentElement;
/** @type {Set<() => void>} */
const listeners = new Set();

/** Call the listener after each change of the theme. @param {() => void} listener */
export function onTheme(listener) {
    listeners.add(listener);
}

/** Cache of the theme's values by name, because a chart needs a colour for every bar and reading a style is slow.
 * @type {Map<string, string>} */
const tokens = new Map();

/** Return a colour or font of the current theme by the name of its custom property. @param {string} name */
export function token(name) {
    const known = tokens.get(name);
    if (known !== undefined) return known;
    const value = getComputedStyle(root).getPropertyValue(`--${name}`).trim();
    tokens.set(name, value);
    return value;
}

/** @param {string} theme */
function apply(theme) {
    root.dataset.theme = theme;
    tokens.clear();
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
        button.setAttribute("aria-label", theme === "dark" ? "Switch to the light theme" : "Switch to the dark theme");
    }
    listeners.forEach((listener) => listener());
}

/** @returns {string | null} */
function chosen() {
    try {
        return localStorage.getItem(KEY);
    } catch {
        return null;
    }
}

/** Apply the theme and follow its changes: by the button, the system or another tab. */
export function startTheme() {
    const light = matchMedia("(prefers-color-scheme: light)");
    light.addEventListener("change", () => chosen() ?? apply(light.matches ? "light" : "dark"));
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
        button.addEventListener("click", () => {
            const theme = root.dataset.theme === "dark" ? "light" : "dark";
            localStorage.setItem(KEY, theme);
            apply(theme);
        });
    }
    window.addEventListener("storage", (event) => {
        if (event.key === KEY && event.newValue) apply(event.newValue);
    });
    apply(root.dataset.theme ?? "dark");
}
