// @ts-check
/** Session id of a browser tab. */

const SESSION_KEY = "stocksblitz.session";

/** Return a random UUID, also in a page without a secure context. */
export function uuid() {
    if (globalThis.crypto.randomUUID) return globalThis.crypto.randomUUID();
    const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Hold a Web Lock as long as this page lives. After a reload the old page may hold the lock for a moment, so wait shortly.
 * @param {string} id @returns {Promise<boolean>} whether the lock was granted */
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

/** Return this tab's session id. A reload keeps it. A duplicated tab gets a new one: it has copied sessionStorage, but it
 * cannot get the lock. Without Web Locks (no secure context) every page load has a new session. @returns {Promise<string>} */
export async function claimSession() {
    if (!globalThis.sessionStorage || !globalThis.navigator?.locks) return uuid();
    const known = sessionStorage.getItem(SESSION_KEY);
    if (known && (await holdLock(known))) return known;
    const id = uuid();
    await holdLock(id);
    sessionStorage.setItem(SESSION_KEY, id);
    return id;
}

/** Forget this tab's session, which has ended; the next page load begins a new one. */
export function forgetSession() {
    globalThis.sessionStorage?.removeItem(SESSION_KEY);
}
