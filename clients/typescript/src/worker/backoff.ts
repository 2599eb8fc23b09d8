// Pauses between tries: doubled each time, with jitter, so that workers which lost the same console don't return at once.

const FIRST = 500;
const LONGEST = 15_000;

export class Backoff {
  #failures = 0;

  constructor(
    private readonly first = FIRST,
    private readonly longest = LONGEST,
  ) {}

  /** Return the next pause in milliseconds. */
  next(): number {
    const pause = Math.min(this.longest, this.first * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    return pause * (0.5 + Math.random() / 2);
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
