// @ts-check
/** What the page says of itself: connection, source of the prices, session, frames, the time. */
import { ConnectionPill } from "../page/connection_pill.js";
import { $, setText } from "../page/dom.js";
import { clock, zoneName } from "../page/format.js";

/** @typedef {import("../client/types.js").State} State */

const RATE_OVER_S = 3;
/** No frame for so long may be a market that is closed, or a server that has lost its feed or its compute workers. */
const QUIET_S = 10;

export class Status {
    #pill = new ConnectionPill();
    /** @type {number[]} */ #counts = [];
    #clock = clock("UTC");
    #zone = "UTC";
    #stale = false;
    #quiet = 0;

    /** @param {import("../stocksblitz-client.js").StocksBlitzClient} client */
    constructor(client) {
        this.client = client;
        client.on("state", (state) => this.#connection(state));
        setInterval(() => this.#second(), 1000);
        this.#second();
    }

    /** @param {string} zone */
    setZone(zone) {
        this.#zone = zone;
        this.#clock = clock(zone);
        this.#second();
    }

    /** Where the prices of the chart come from and whether they are fresh. @param {{source: string, stale: boolean}} frame */
    source({ source, stale }) {
        const made = source === "simulated" || source === "replay";
        $("#simulated").hidden = !made;
        if (made) setText($("#simulated"), source);
        this.#stale = stale;
        this.#showStale("");
    }

    /** @param {string} missing the workers that are away; none: only the price itself may be old */
    #showStale(missing) {
        $("#stale").hidden = !this.#stale && !missing;
        setText($("#stale"), missing ? `stale: no ${missing}` : "stale");
    }

    /** A closed market is quiet too: the server knows which it is. */
    async #ask() {
        const reply = await fetch("/readyz", { headers: { Accept: "application/json" } }).catch(() => null);
        const found = await reply?.json().catch(() => null);
        if (!found || this.#quiet < QUIET_S) return;
        this.#showStale(["feed", "compute"].filter((kind) => found[kind] === false).join(", "));
    }

    /** @param {State} state */
    #connection(state) {
        this.#pill.show(state);
        setText($("#session"), this.client.sessionId.slice(0, 8) || "–");
    }

    #second() {
        const { frames, lagged, gaps } = this.client.stats;
        const silent = frames === this.#counts.at(-1) && this.client.state.state === "live" && !document.hidden;
        this.#quiet = silent ? this.#quiet + 1 : 0;
        if (silent && this.#quiet % QUIET_S === 0) void this.#ask();
        this.#counts = [...this.#counts, frames].slice(-RATE_OVER_S - 1);
        const rate = (frames - this.#counts[0]) / Math.max(1, this.#counts.length - 1);
        setText($("#rate"), rate >= 10 ? rate.toFixed(0) : rate.toFixed(1));
        setText($("#lost"), `${lagged} / ${gaps}`);
        setText($("#clock"), `${this.#clock.seconds(Date.now())} ${zoneName(this.#zone)}`);
    }
}
