// Keeps the screen on while somebody talks: a phone that goes to sleep takes the microphone away.

let lock = null;
let isWanted = false;

export async function keepAwake(value) {
  isWanted = value;
  try {
    if (isWanted && lock === null && document.visibilityState === "visible") {
      lock = await navigator.wakeLock.request("screen");
      lock.addEventListener("release", () => (lock = null));
      if (!isWanted) await lock.release();
    } else if (!isWanted) {
      await lock?.release();
    }
  } catch {
    // no such thing in this browser, or no battery left for it
  }
}

// The browser takes the lock back whenever the page is hidden.
document.addEventListener("visibilitychange", () => isWanted && keepAwake(true));
