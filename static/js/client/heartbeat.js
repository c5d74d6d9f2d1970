// @ts-check

const ANSWER_WITHIN_MS = 10_000;

const isHidden = () => typeof document !== "undefined" && document.visibilityState !== "visible";

/** Heartbeat of one connection: sends a message as often as the server asks, and notices when no answer comes. */
export class Heartbeat {
    /** @type {import("./types.js").Timer} */ #sendTimer;
    /** @type {import("./types.js").Timer} */ #answerTimer;
    #everyMs = 30_000;
    #heardAt = 0;

    /** @param {() => void} send sends one heartbeat @param {() => void} dead is called when no answer came in time */
    constructor(send, dead) {
        this.send = send;
        this.dead = dead;
    }

    /** Begin to send heartbeats. @param {number} [everyMs] */
    start(everyMs) {
        this.#everyMs = everyMs || this.#everyMs;
        this.#sendTimer = setTimeout(() => this.beat(), this.#everyMs);
    }

    /** Stop the heartbeats. */
    stop() {
        clearTimeout(this.#sendTimer);
        clearTimeout(this.#answerTimer);
    }

    /** Record that a message has arrived; every message counts as an answer. */
    heard() {
        this.#heardAt = performance.now();
    }

    /** Send a heartbeat. Expect an answer only while the page is visible, because browsers throttle the timers of a hidden page. */
    beat() {
        clearTimeout(this.#sendTimer);
        this.#sendTimer = setTimeout(() => this.beat(), this.#everyMs);
        this.send();
        if (isHidden()) return;
        const sentAt = performance.now();
        clearTimeout(this.#answerTimer);
        this.#answerTimer = setTimeout(() => {
            if (this.#heardAt < sentAt) this.dead();
        }, ANSWER_WITHIN_MS);
    }
}

/** Call `wake` when the page becomes visible again or the network is back. @param {() => void} wake
 * @returns {() => void} stops the calls */
export function onWake(wake) {
    if (typeof document === "undefined") return () => {};
    const onVisible = () => {
        if (!isHidden()) wake();
    };
    document.addEventListener("visibilitychange", onVisible);
    window.addEventListener("online", wake);
    return () => {
        document.removeEventListener("visibilitychange", onVisible);
        window.removeEventListener("online", wake);
    };
}
