// @ts-check

const ALIVE_WITHIN_MS = 10_000;

const isHidden = () => typeof document !== "undefined" && document.visibilityState !== "visible";

/** Signs of life of one connection: beats as often as the server wants, and judges whether it still answers. */
export class Pulse {
    /** @type {import("./types.js").Timer} */ #beatTimer;
    /** @type {import("./types.js").Timer} */ #aliveTimer;
    #everyMs = 30_000;
    #heardAt = 0;

    /** @param {() => void} send one heartbeat @param {() => void} dead nothing answers any more */
    constructor(send, dead) {
        this.send = send;
        this.dead = dead;
    }

    /** @param {number} [everyMs] */
    start(everyMs) {
        this.#everyMs = everyMs || this.#everyMs;
        this.#beatTimer = setTimeout(() => this.beat(), this.#everyMs);
    }

    stop() {
        clearTimeout(this.#beatTimer);
        clearTimeout(this.#aliveTimer);
    }

    heard() {
        this.#heardAt = performance.now();
    }

    /** Only a visible page judges the answer: a hidden one is throttled and would judge wrongly. */
    beat() {
        clearTimeout(this.#beatTimer);
        this.#beatTimer = setTimeout(() => this.beat(), this.#everyMs);
        this.send();
        if (isHidden()) return;
        const asked = performance.now();
        clearTimeout(this.#aliveTimer);
        this.#aliveTimer = setTimeout(() => {
            if (this.#heardAt < asked) this.dead();
        }, ALIVE_WITHIN_MS);
    }
}

/** Somebody looks at the page again, or the network is back. @param {() => void} wake @returns {() => void} stop telling */
export function onWake(wake) {
    if (typeof document === "undefined") return () => {};
    const looked = () => {
        if (!isHidden()) wake();
    };
    document.addEventListener("visibilitychange", looked);
    window.addEventListener("online", wake);
    return () => {
        document.removeEventListener("visibilitychange", looked);
        window.removeEventListener("online", wake);
    };
}
