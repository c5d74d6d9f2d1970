// @ts-check
/** Portfolio page: it shows one account in full and the state of the others, live through one socket. */
import { $, debounced, h, perFrame, setText, toast } from "../page/dom.js";
import { searchSymbols } from "../page/api.js";
import { ConnectionPill } from "../page/connection_pill.js";
import "../page/page.js";
import * as api from "./api.js";
import { EquityCurve } from "./curve.js";
import { money, signed, tone } from "./format.js";
import { Figures, Gauge, Positions, explain, showEvents, showOrders } from "./panels.js";
import { PortfolioSocket } from "./socket.js";

/** @typedef {import("./api.js").Snapshot} Snapshot */

const KEY = "stocksblitz.portfolio.account";
/** The what-if result is computed again after this time, because prices change while it is shown. */
const WHAT_IF_AGAIN_MS = 3000;
const STATES = { ok: "", margin_call: "margin call", stop_out: "stop-out", stale: "stale" };

/** The page's state and its handlers. */
class Page {
    /** @type {Map<string, Snapshot>} */ snapshots = new Map();
    /** @type {Map<string, {row: HTMLElement, equity: HTMLElement, dot: HTMLElement}>} */ rows = new Map();
    selected = "";
    figures = new Figures();
    gauge = new Gauge();
    pill = new ConnectionPill();
    curve = new EquityCurve($("#curve"), $("#curve-zone"));
    positions = new Positions((position, quantity) => void this.close(position, quantity));
    socket = new PortfolioSocket({
        onState: (connection) => this.connection(connection),
        onSnapshot: (snapshot) => this.receive(snapshot),
        onEvent: (account, event) => this.event(account, event),
    });
    draw = perFrame(() => this.paint());
    shock = debounced(150, () => void this.whatIf());
    whatIfAt = 0;

    /** Connect, load the accounts and select one of them. */
    async start() {
        this.wire();
        void this.socket.connect();
        const [found, symbols] = await Promise.all([api.accounts(), searchSymbols("")]);
        $("#symbols").replaceChildren(...symbols.map(({ symbol, name }) => h("option", { value: symbol }, name)));
        found.forEach((account) => this.addAccount(account));
        this.socket.watch(found.map(({ key }) => key));
        const last = sessionStorage.getItem(KEY) ?? "";
        if (found.length) await this.select(this.rows.has(last) ? last : found[0].key);
        else $("#accounts").append(h("p", { class: "empty" }, "You have no account yet. Ask an administrator to create one."));
    }

    /** Connect the controls of the page to their handlers. */
    wire() {
        const form = /** @type {HTMLFormElement} */ ($("#ticket"));
        form.addEventListener("submit", (event) => {
            event.preventDefault();
            const button = /** @type {SubmitEvent} */ (event).submitter;
            void this.place(form, button instanceof HTMLButtonElement ? button.value : "buy");
        });
        $("#ticket-type").addEventListener("change", () => {
            $("#ticket-price-label").hidden = this.field("ticket-type") === "market";
        });
        $("#shock").addEventListener("input", () => this.shock());
        $("#shock-symbol").addEventListener("change", () => this.shock());
        $("#journal-close").addEventListener("click", () => /** @type {HTMLDialogElement} */ ($("#journal")).close());
    }

    /** Return the text of an input field. @param {string} id */
    field(id) {
        return /** @type {HTMLInputElement} */ ($(`#${id}`)).value.trim();
    }

    // --- accounts

    /** Add an account to the list. @param {api.Account} account */
    addAccount({ key, currency, balance, state }) {
        const equity = h("span", {}, `${money(balance)} ${currency}`);
        const dot = h("i", { class: "dot", "data-state": state });
        const row = h(
            "button",
            { type: "button", class: "account", role: "option", "aria-selected": "false", onclick: () => void this.select(key) },
            h("b", {}, key),
            dot,
            equity,
        );
        $("#accounts").append(row);
        this.rows.set(key, { row, equity, dot });
    }

    /** Show an account in full. @param {string} key */
    async select(key) {
        this.selected = key;
        sessionStorage.setItem(KEY, key);
        for (const [name, { row }] of this.rows) row.setAttribute("aria-selected", String(name === key));
        this.positions.clear();
        this.curve.show([]);
        this.draw();
        const [points] = await Promise.all([api.equity(key).catch(() => []), this.refresh(), this.whatIf()]);
        if (this.selected !== key) return;
        this.curve.show(points);
        this.draw();
    }

    /** Read pending orders and events again, because the socket sends only hints that they have changed. */
    async refresh() {
        const key = this.selected;
        const found = await Promise.all([api.pendingOrders(key), api.journal(key)]).catch(() => null);
        if (!found || this.selected !== key) return; // After a failure, the reconnect refreshes again.
        const [orders, decisions] = found;
        showOrders(orders, (id) => void this.cancel(id));
        showEvents(decisions, (decision) => {
            explain(decision);
            /** @type {HTMLDialogElement} */ ($("#journal")).showModal();
        });
    }

    // --- live

    /** Show the connection; after a reconnect, read again what may have changed in the meantime.
     * @param {import("../page/connection_pill.js").Connection} connection */
    connection(connection) {
        this.pill.show(connection);
        if (connection.state === "live" && this.selected) void this.refresh();
    }

    /** Keep a snapshot and draw it. @param {Snapshot} snapshot */
    receive(snapshot) {
        const before = this.snapshots.get(snapshot.account);
        this.snapshots.set(snapshot.account, snapshot);
        if (snapshot.account === this.selected) {
            this.curve.add(snapshot.ts, snapshot.stale ? null : snapshot.equity);
            if (before && before.positions.length !== snapshot.positions.length) void this.refresh();
        }
        this.draw();
    }

    /** Announce an event of an account. @param {string} account @param {api.Event} event */
    event(account, event) {
        const kind = event.kind === "restored" || event.kind === "order_filled" ? "info" : "error";
        toast(`${account}: ${event.text}`, kind);
        if (account === this.selected) void this.refresh();
    }

    /** Draw the list of accounts and the selected account. */
    paint() {
        for (const [key, { equity, dot }] of this.rows) {
            const snapshot = this.snapshots.get(key);
            if (!snapshot) continue;
            setText(equity, `${money(snapshot.equity ?? snapshot.balance)} ${snapshot.currency}`);
            dot.dataset.state = snapshot.state;
            dot.title = /** @type {any} */ (STATES)[snapshot.state] ?? snapshot.state;
        }
        const shown = this.snapshots.get(this.selected);
        if (!shown) return;
        this.figures.show(shown);
        this.gauge.show(shown);
        this.positions.show(shown.positions);
        this.offerShocks(shown);
        if (performance.now() - this.whatIfAt > WHAT_IF_AGAIN_MS && !document.hidden) void this.whatIf();
    }

    // --- orders

    /** Place the order of the form. @param {HTMLFormElement} form @param {string} side */
    async place(form, side) {
        const type = this.field("ticket-type");
        const order = { account: this.selected, symbol: this.field("ticket-symbol").toUpperCase(), side, quantity: this.field("ticket-quantity"), type };
        const priced = type === "market" ? order : { ...order, price: this.field("ticket-price") };
        await this.act(async () => {
            const placed = await api.placeOrder(priced);
            const outcome = placed.status === "filled" ? `at ${placed.filled_price}` : "waits for its price";
            this.hint(`${side} ${placed.quantity} ${placed.symbol} ${outcome}.`);
        });
        form.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
    }

    /** Close a position or a part of it. @param {api.Position} position @param {string} quantity */
    async close(position, quantity) {
        await this.act(async () => {
            const { fill } = await api.closePosition(position.id, quantity);
            this.hint(`${position.symbol} closed at ${fill.price}: ${signed(fill.realized_pnl)}.`);
        });
    }

    /** Cancel a pending order. @param {number} id */
    async cancel(id) {
        await this.act(async () => {
            await api.cancelOrder(id);
            this.hint("Order cancelled.");
        });
    }

    /** Run an action of the user, refresh, and show its error if it fails. @param {() => Promise<void>} work */
    async act(work) {
        try {
            await work();
            await this.refresh();
        } catch (error) {
            this.hint(error instanceof Error ? error.message : String(error), "error");
        }
    }

    /** Show a text under the order form. @param {string} text @param {string} [kind] */
    hint(text, kind = "info") {
        $("#ticket-hint").dataset.kind = kind;
        setText($("#ticket-hint"), text);
    }

    // --- what if

    /** Offer the symbols of the open positions for a what-if computation. @param {Snapshot} snapshot */
    offerShocks({ positions }) {
        const select = /** @type {HTMLSelectElement} */ ($("#shock-symbol"));
        const symbols = ["*", ...new Set(positions.map(({ symbol }) => symbol))];
        if ([...select.options].map(({ value }) => value).join() === symbols.join()) return;
        const chosen = select.value;
        select.replaceChildren(...symbols.map((value) => h("option", { value }, value === "*" ? "all prices" : value)));
        select.value = symbols.includes(chosen) ? chosen : "*";
    }

    /** Compute and show the account as it would be after the chosen move of the prices. */
    async whatIf() {
        const percent = Number(this.field("shock"));
        setText($("#shock-value"), `${percent > 0 ? "+" : ""}${percent.toFixed(1)} %`);
        const key = this.selected;
        const shocks = { [this.field("shock-symbol")]: (percent / 100).toFixed(4) };
        this.whatIfAt = performance.now();
        const result = await api.whatIf(key, shocks).catch(() => null);
        if (!result || key !== this.selected) return;
        const state = /** @type {any} */ (STATES)[result.state] || "ok";
        const rows = [
            ["Equity", money(result.equity), tone(result.unrealized_pnl)],
            ["Result", signed(result.unrealized_pnl), tone(result.unrealized_pnl)],
            ["Margin level", result.margin_level === null ? "–" : `${money(result.margin_level)} %`, ""],
            ["State", state, result.state === "ok" ? "up" : "down"],
        ];
        $("#whatif").replaceChildren(...rows.flatMap(([name, value, look]) => [h("span", {}, name), h("b", { class: look }, value)]));
    }
}

new Page().start().catch((error) => {
    const retry = h("button", { type: "button", class: "button", onclick: () => location.reload() }, "Try again");
    $("#accounts").replaceChildren(h("p", { class: "empty" }, error.message), retry);
});
