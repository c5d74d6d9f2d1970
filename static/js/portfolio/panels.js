// @ts-check
/** Panels of one account: figures, margin level, positions, pending orders, events. */
import { $, h, setText } from "../page/dom.js";
import { money, signed, tone, when } from "./format.js";

/** @typedef {import("./api.js").Snapshot} Snapshot */
/** @typedef {import("./api.js").Position} Position */

/** The full bar stands for four times the margin call level, so that both marks are visible and a fall of the level is too. */
const FULL = 4;

/** Balance, equity, result and margins of the account. */
export class Figures {
    /** @type {Record<string, HTMLElement>} */ #values = {};

    constructor() {
        for (const [name, label] of Object.entries({ balance: "Balance", equity: "Equity", unrealized_pnl: "Result", used_margin: "Used margin", free_margin: "Free margin" })) {
            const value = h("b", { id: `figure-${name}` }, "–");
            this.#values[name] = value;
            $("#figures").append(h("div", { class: "figure" }, h("span", {}, label), value));
        }
    }

    /** Show the figures of a snapshot. @param {Snapshot} snapshot */
    show(snapshot) {
        for (const [name, element] of Object.entries(this.#values)) {
            const amount = /** @type {any} */ (snapshot)[name];
            setText(element, name === "unrealized_pnl" ? signed(amount) : money(amount));
            if (name === "unrealized_pnl") element.className = tone(amount);
            element.title = snapshot.currency;
        }
    }
}

/** Bar of the margin level, with marks at the margin call and the stop-out. */
export class Gauge {
    /** Show the margin level of a snapshot. @param {Snapshot} snapshot */
    show(snapshot) {
        const call = Number(snapshot.margin_call_level) || 100;
        const place = (/** @type {string | number} */ level) => `${Math.max(0, Math.min(100, (Number(level) / (call * FULL)) * 100))}%`;
        const level = snapshot.margin_level;
        setText($("#level"), level === null ? (snapshot.stale ? "not known" : "no margin used") : `${money(level)} %`);
        $("#gauge").dataset.state = snapshot.state;
        $("#gauge").setAttribute("aria-label", `Margin level ${level ?? "none"}`);
        $("#gauge .fill").style.width = level === null ? (snapshot.stale ? "0" : "100%") : place(level);
        $("#gauge .mark-call").style.left = place(snapshot.margin_call_level);
        $("#gauge .mark-stop").style.left = place(snapshot.stop_out_level);
        const line = (/** @type {string} */ name, /** @type {string} */ kind, /** @type {string | null} */ away, /** @type {string | null} */ price) =>
            h("span", {}, h("i", { class: kind }), `${name}: `, away === null ? "–" : `${money(away)} away`, price ? `, at ${price}` : "");
        $("#gauge-legend").replaceChildren(
            line(`Margin call ${snapshot.margin_call_level} %`, "call", snapshot.margin_call_distance, snapshot.margin_call_price),
            line(`Stop-out ${snapshot.stop_out_level} %`, "stop", snapshot.stop_out_distance, snapshot.stop_out_price),
        );
        $("#simulated").hidden = snapshot.source !== "simulated" && snapshot.source !== "replay";
        setText($("#simulated"), snapshot.source);
        $("#stale").hidden = !snapshot.stale;
        $("#stale").textContent = snapshot.missing.length ? `no price: ${snapshot.missing.join(", ")}` : "stale";
    }
}

/** Table of the open positions. */
export class Positions {
    /** @type {Map<number, {row: HTMLElement, result: HTMLElement, lots: HTMLElement}>} */ #rows = new Map();
    #body = $("#positions");
    #onClose;

    /** @param {(position: Position, quantity: string) => void} onClose */
    constructor(onClose) {
        this.#onClose = onClose;
    }

    /** Show the positions; the row of a position is kept, so that the text typed into it is kept too. @param {Position[]} positions */
    show(positions) {
        const open = new Set(positions.map((position) => position.id));
        for (const [id, { row }] of this.#rows) if (!open.has(id)) row.remove(), this.#rows.delete(id);
        for (const position of positions) {
            const known = this.#rows.get(position.id) ?? this.#add(position);
            setText(known.result, signed(position.unrealized_pnl));
            known.result.className = tone(position.unrealized_pnl);
            setText(known.lots, position.quantity);
        }
        this.#body.querySelector(".empty")?.parentElement?.remove();
        if (!positions.length) this.#body.replaceChildren(h("tr", {}, h("td", { class: "empty", colspan: 6 }, "No open position.")));
    }

    /** @param {Position} position */
    #add(position) {
        const input = h("input", { placeholder: "all", "aria-label": `Lots of ${position.symbol} to close`, inputmode: "decimal" });
        const close = h("button", { type: "button", class: "button", onclick: () => this.#onClose(position, input.value.trim()) }, "Close");
        const result = h("b", {}), lots = h("span", {}, position.quantity);
        const row = h(
            "tr",
            { "data-position": position.id },
            h("td", {}, h("b", {}, position.symbol)),
            h("td", { class: position.side === "buy" ? "up" : "down" }, position.side),
            h("td", {}, lots),
            h("td", {}, money(position.price)),
            h("td", {}, result),
            h("td", {}, input, close),
        );
        this.#body.append(row);
        const known = { row, result, lots };
        this.#rows.set(position.id, known);
        return known;
    }

    /** Remove all rows. */
    clear() {
        this.#rows.clear();
        this.#body.replaceChildren();
    }
}

/** Show the pending orders. @param {import("./api.js").Order[]} orders @param {(id: number) => void} onCancel */
export function showOrders(orders, onCancel) {
    const rows = orders.map((order) =>
        h(
            "tr",
            {},
            h("td", {}, h("b", {}, order.symbol)),
            h("td", { class: order.side === "buy" ? "up" : "down" }, `${order.side} ${order.type}`),
            h("td", {}, order.quantity),
            h("td", {}, money(order.price)),
            h("td", {}, money(order.margin)),
            h("td", {}, h("button", { type: "button", class: "button", onclick: () => onCancel(order.id) }, "Cancel")),
        ),
    );
    $("#orders").replaceChildren(...(rows.length ? rows : [h("tr", {}, h("td", { class: "empty", colspan: 6 }, "No pending order."))]));
}

/** Show the events of the account. @param {import("./api.js").Decision[]} decisions @param {(decision: import("./api.js").Decision) => void} onOpen */
export function showEvents(decisions, onOpen) {
    const rows = decisions.map((decision) =>
        h(
            "li",
            {},
            h(
                "button",
                { type: "button", onclick: () => onOpen(decision), "data-kind": decision.kind },
                h("time", { datetime: decision.created_at }, when(Date.parse(decision.created_at ?? "") || 0)),
                decision.text,
            ),
        ),
    );
    $("#events").replaceChildren(...(rows.length ? rows : [h("li", { class: "empty" }, "Nothing has happened yet.")]));
}

/** Show the explanation of a decision: its figures and positions before and after. @param {import("./api.js").Decision} decision */
export function explain({ text, inputs, created_at }) {
    const before = inputs.before ?? {}, after = inputs.after ?? {};
    const names = { balance: "Balance", equity: "Equity", used_margin: "Used margin", margin_level: "Margin level" };
    const level = (/** @type {string} */ name, /** @type {any} */ from) => money(from[name]) + (name === "margin_level" && from[name] ? " %" : "");
    const numbers = Object.entries(names).map(([name, label]) =>
        h("tr", {}, h("td", {}, label), h("td", {}, ""), h("td", {}, level(name, before)), h("td", {}, level(name, after))),
    );
    const positions = (inputs.positions ?? []).map((/** @type {any} */ p) =>
        h("tr", {}, h("td", {}, p.symbol), h("td", {}, `${p.side} ${p.quantity} at ${money(p.price)}`), h("td", {}, money(p.mark)), h("td", { class: tone(p.unrealized_pnl) }, money(p.unrealized_pnl))),
    );
    $("#journal-body").replaceChildren(
        h("p", {}, h("time", { datetime: created_at }, when(Date.parse(created_at ?? "") || 0)), ` ${text}`),
        h("table", { class: "rows" }, h("thead", {}, h("tr", {}, ...["", "", "Before", "After"].map((label) => h("th", {}, label)))), h("tbody", {}, ...numbers)),
        h("table", { class: "rows" }, h("thead", {}, h("tr", {}, ...["Position", "Held", "Price", "Result"].map((label) => h("th", {}, label)))), h("tbody", {}, ...positions)),
    );
}
