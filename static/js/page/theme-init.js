// This script runs before the first paint, so that the page never flashes in the other theme.
(() => {
    let theme = null;
    try {
        theme = localStorage.getItem("stocksblitz.theme");
    } catch {
        // The browser forbids the storage; the system's preference applies.
    }
    theme ??= matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
})();
