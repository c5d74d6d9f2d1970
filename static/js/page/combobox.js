// @ts-check
/** List of options under a text field. */

/** Keyboard and mouse control of the list: the field keeps the focus, the arrow keys select, Enter or a click chooses. */
export class Combobox {
    /** @param {HTMLInputElement} input @param {HTMLElement} list @param {(row: HTMLElement, byKey: boolean) => void} onChoose
     * @param {(row: HTMLElement) => void} [onMove] */
    constructor(input, list, onChoose, onMove = () => {}) {
        this.input = input;
        this.list = list;
        this.onMove = onMove;
        input.addEventListener("keydown", (event) => {
            if (event.key === "ArrowDown" || event.key === "ArrowUp") this.#step(event, event.key === "ArrowDown" ? 1 : -1);
            const current = this.current;
            if (event.key === "Enter" && current) {
                event.preventDefault();
                onChoose(current, true);
            }
        });
        list.addEventListener("click", (event) => {
            const row = event.target instanceof Element ? event.target.closest("[role=option]") : null;
            if (!(row instanceof HTMLElement)) return;
            this.move(row);
            onChoose(row, false);
        });
    }

    /** The selected row. @returns {HTMLElement | null} */
    get current() {
        return this.list.querySelector("[aria-selected=true]");
    }

    /** @returns {HTMLElement[]} */
    get #rows() {
        return /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll("[role=option]")]);
    }

    /** After the list has been filled, select the row with this key, else the first one. @param {string} [key] */
    begin(key) {
        const rows = this.#rows;
        this.move(rows.find((row) => row.dataset.key === key) ?? rows[0] ?? null);
    }

    /** Select a row and scroll it into view. @param {HTMLElement | null} row */
    move(row) {
        for (const option of this.#rows) option.setAttribute("aria-selected", String(option === row));
        if (!row) return this.input.removeAttribute("aria-activedescendant");
        this.input.setAttribute("aria-activedescendant", row.id);
        row.scrollIntoView({ block: "nearest" });
        this.onMove(row);
    }

    /** @param {KeyboardEvent} event @param {number} by */
    #step(event, by) {
        event.preventDefault();
        const rows = this.#rows;
        if (!rows.length) return;
        const at = rows.findIndex((row) => row === this.current);
        this.move(rows[(at + by + rows.length) % rows.length]);
    }
}
