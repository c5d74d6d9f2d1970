// @ts-check
/** Display of the connection's state at the top of a page, with a button to reconnect after a final close. */
import { $, h, setText } from "./dom.js";

/** @typedef {Pick<import("../stocksblitz-client.js").State, "state" | "code" | "reason" | "retryInMs">} Connection */

const NEEDS_LOGIN = new Set([4501, 4508]);

export class ConnectionPill {
    #pill = $("#connection");
    #banner = $("#banner");
    /** @type {ReturnType<typeof setInterval> | undefined} */ #countdown;

    /** Show the state; a stopped connection also opens the banner. @param {Connection} connection */
    show(connection) {
        const { state, reason } = connection;
        clearInterval(this.#countdown);
        this.#pill.dataset.state = state;
        if (state === "reconnecting") return this.#count(connection);
        const stopped = state === "stopped";
        setText($("span", this.#pill), stopped ? `stopped: ${reason}` : state);
        this.#pill.title = stopped ? reason : "";
        this.#banner.hidden = !stopped;
        if (stopped) this.#banner.replaceChildren(`Live data stopped: ${reason}.`, this.#reconnectControl(connection));
    }

    /** @param {Connection} connection */
    #reconnectControl({ code }) {
        if (NEEDS_LOGIN.has(code)) return h("a", { class: "button", href: `/login?next=${encodeURIComponent(location.pathname)}` }, "Log in");
        return h("button", { type: "button", class: "button", onclick: () => location.reload() }, "Connect again");
    }

    /** Count the seconds down to the next attempt. @param {Connection} connection */
    #count({ retryInMs, reason }) {
        const due = performance.now() + retryInMs;
        const showSeconds = () => setText($("span", this.#pill), `reconnecting in ${Math.max(1, Math.ceil((due - performance.now()) / 1000))} s`);
        this.#pill.title = reason;
        this.#countdown = setInterval(showSeconds, 250);
        showSeconds();
    }
}
