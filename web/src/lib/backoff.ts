// Waiting times between attempts. Pure.

export const FIRST_WAIT_MS = 1000;
export const LONGEST_WAIT_MS = 15_000;

/** 1 s, 2 s, 4 s … 15 s, each shortened by up to a quarter so that many pages don't come at once. */
export function waitMs(attempt: number, random: () => number = Math.random): number {
  const full = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempt, 8));
  return Math.round(full * (1 - random() * 0.25));
}

/** Resolves after a time, or at once when the signal ends. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
