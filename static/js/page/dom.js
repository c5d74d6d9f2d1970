// @ts-check
/** Functions that build and find elements. Text is always set as text, never as markup. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/** Create an element with attributes and children; `on…` adds a listener, a boolean sets or omits an attribute.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, any>} [attributes] @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]} */
export function h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (value === true) element.setAttribute(name, "");
        else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
    }
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
    return element;
}

/** @param {Child} child */
const asNode = (child) => (child instanceof Node ? child : String(child));

/** Find the element of a selector; throw an error when the page has none. @param {string} selector @param {ParentNode} [within]
 * @returns {HTMLElement} */
export function $(selector, within = document) {
    const found = within.querySelector(selector);
    if (!(found instanceof HTMLElement)) throw new Error(`expected an element ${selector} on the page, found none`);
    return found;
}

/** Create an icon from the page's sprite. @param {string} name @returns {SVGSVGElement} */
export function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#icon-${name}`);
    svg.append(use);
    return svg;
}

/** Set an element's text only if it differs, because every write costs a layout. @param {Element} element @param {string} text */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

/** Return a function that runs at most once per painted frame, with the newest arguments.
 * @template {any[]} A @param {(...args: A) => void} work @returns {(...args: A) => void} */
export function perFrame(work) {
    /** @type {A | null} */
    let next = null;
    return (...args) => {
        if (next === null) requestAnimationFrame(() => {
            const latest = /** @type {A} */ (next);
            next = null;
            work(...latest);
        });
        next = args;
    };
}

/** Return a function that runs once its calls have paused for `ms`. @template {any[]} A @param {number} ms @param {(...args: A) => void} work
 * @returns {(...args: A) => void} */
export function debounced(ms, work) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    return (...args) => {
        clearTimeout(timer);
        timer = setTimeout(() => work(...args), ms);
    };
}

/** Show a short message at the edge of the page; screen readers read it out. @param {string} text @param {"info" | "error"} [kind] */
export function toast(text, kind = "info") {
    const note = h("div", { class: `toast toast-${kind}`, role: kind === "error" ? "alert" : "status" }, text);
    $("#toasts").append(note);
    setTimeout(() => note.remove(), kind === "error" ? 7000 : 3500);
}

/** Close a dialog when the user clicks beside it. @param {HTMLDialogElement} dialog */
export function closeOnBackdrop(dialog) {
    dialog.addEventListener("mousedown", (event) => {
        if (event.target === dialog) dialog.close();
    });
}
