// Runs before the first paint, so that the page never flashes in the other theme.
(() => {
    let theme = null;
    try {
        theme = localStorage.getItem("stocksblitz.theme");
    } catch {
        // storage is forbidden: the system's preference it is
    }
    theme ??= matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
})();
