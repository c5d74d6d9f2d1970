// @ts-check
/** Status of the page: connection, source of the prices, session, frame rate and clock. */
import { ConnectionPill } from "../page/connection_pill.js";
import { $, setText } from "../page/dom.js";
import { clock, zoneName } from "../page/format.js";

/** @typedef {import("../client/types.js").State} State */

const RATE_OVER_S = 3;
/** After this time without a frame the market may be closed, or the server may have lost its feed or its compute workers. */
const QUIET_S = 10;

/** Display of the status, refreshed every second. */
export class Status {
    #pill = new ConnectionPill();
    /** @type {number[]} */ #counts = [];
    #clock = clock("UTC");
    #zone = "UTC";
    #stale = false;
    /** Seconds without a frame. */
    #quietS = 0;

    /** @param {import("../stocksblitz-client.js").StocksBlitzClient} client */
    constructor(client) {
        this.client = client;
        client.on("state", (state) => this.#connection(state));
        setInterval(() => this.#second(), 1000);
        this.#second();
    }

    /** Set the time zone of the clock. @param {string} zone */
    setZone(zone) {
        this.#zone = zone;
        this.#clock = clock(zone);
        this.#second();
    }

    /** Show the source of the chart's prices and whether they are stale. @param {{source: string, stale: boolean}} frame */
    source({ source, stale }) {
        const isMock = source === "simulated" || source === "replay";
        $("#simulated").hidden = !isMock;
        if (isMock) setText($("#simulated"), source);
        this.#stale = stale;
        this.#showStale("");
    }

    /** @param {string} missing names of the workers that do not run; with an empty text only the price itself may be old */
    #showStale(missing) {
        $("#stale").hidden = !this.#stale && !missing;
        setText($("#stale"), missing ? `stale: no ${missing}` : "stale");
    }

    /** Ask the server whether its workers run, because a closed market sends no frames either. */
    async #checkWorkers() {
        const reply = await fetch("/readyz", { headers: { Accept: "application/json" } }).catch(() => null);
        const ready = await reply?.json().catch(() => null);
        if (!ready || this.#quietS < QUIET_S) return;
        this.#showStale(["feed", "compute"].filter((kind) => ready[kind] === false).join(", "));
    }

    /** @param {State} state */
    #connection(state) {
        this.#pill.show(state);
        setText($("#session"), this.client.sessionId.slice(0, 8) || "–");
    }

    #second() {
        const { frames, lagged, gaps } = this.client.stats;
        const isQuiet = frames === this.#counts.at(-1) && this.client.state.state === "live" && !document.hidden;
        this.#quietS = isQuiet ? this.#quietS + 1 : 0;
        if (isQuiet && this.#quietS % QUIET_S === 0) void this.#checkWorkers();
        this.#counts = [...this.#counts, frames].slice(-RATE_OVER_S - 1);
        const rate = (frames - this.#counts[0]) / Math.max(1, this.#counts.length - 1);
        setText($("#rate"), rate >= 10 ? rate.toFixed(0) : rate.toFixed(1));
        setText($("#lost"), `${lagged} / ${gaps}`);
        setText($("#clock"), `${this.#clock.seconds(Date.now())} ${zoneName(this.#zone)}`);
    }
}
