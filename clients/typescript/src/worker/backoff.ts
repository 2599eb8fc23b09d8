// Pauses between tries: doubled each time, with jitter, so that workers which lost the same console don't return at once.

const FIRST = 500;
const LONGEST = 15_000;
// A page before the console may ask for an hour, and a run that waits for so long without a heartbeat becomes stale.
const LONGEST_ASKED = 60_000;

export class Backoff {
  #failures = 0;

  constructor(
    private readonly first = FIRST,
    private readonly longest = LONGEST,
  ) {}

  /** Return the next pause in milliseconds. `asked`: how long the other side asked to be left alone. */
  next(asked = 0): number {
    const pause = Math.min(this.longest, this.first * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    return Math.max(Math.min(asked, LONGEST_ASKED), pause * (0.5 + Math.random() / 2));
  }

  reset(): void {
    this.#failures = 0;
  }
}

/** Wait, or less if the signal is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}
