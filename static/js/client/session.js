// @ts-check
/** A session per tab. */

const SESSION_KEY = "stocksblitz.session";

/** A random UUID, also where the page is not a secure context. */
export function uuid() {
    if (globalThis.crypto.randomUUID) return globalThis.crypto.randomUUID();
    const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Hold a Web Lock for as long as this page lives. A reloaded page may find its former self still holding it for a
 * moment, hence the short wait. @param {string} id @returns {Promise<boolean>} whether it is ours */
function holdLock(id) {
    return new Promise((resolve) => {
        const forever = () => {
            resolve(true);
            return new Promise(() => {});
        };
        navigator.locks
            .request(`stocksblitz:${id}`, { signal: AbortSignal.timeout(400) }, forever)
            .catch(() => resolve(false));
    });
}

/** This tab's session id: kept across reloads, new in a duplicated tab (which copies sessionStorage but cannot have the
 * lock). Without Web Locks (no secure context) every page load is a session of its own. @returns {Promise<string>} */
export async function claimSession() {
    if (!globalThis.sessionStorage || !globalThis.navigator?.locks) return uuid();
    const known = sessionStorage.getItem(SESSION_KEY);
    if (known && (await holdLock(known))) return known;
    const id = uuid();
    await holdLock(id);
    sessionStorage.setItem(SESSION_KEY, id);
    return id;
}

/** Forget this tab's session: it was ended, the next page load begins a new one. */
export function forgetSession() {
    globalThis.sessionStorage?.removeItem(SESSION_KEY);
}
