// A breaker in front of the console: after a failure, one request per pause tries again, and nobody else waits.

export const PAUSE = 1000;

export class Breaker {
  #open = false;
  #trying = false;
  #tryAt = 0;

  constructor(
    private readonly clock: () => number,
    private readonly pause = PAUSE,
  ) {}

  /** Tell whether a request may ask the console. While the breaker is open, the one that may is the probe. */
  allows(): boolean {
    if (!this.#open) return true;
    if (this.#trying || this.clock() < this.#tryAt) return false;
    this.#trying = true;
    return true;
  }

  /** Note that the console answered. Return true if that ends an outage. */
  succeeded(): boolean {
    const ended = this.#open;
    this.#open = this.#trying = false;
    return ended;
  }

  /** Note that the console failed. Return true if that begins an outage. */
  failed(): boolean {
    const begins = !this.#open;
    this.#open = true;
    this.#trying = false;
    this.#tryAt = this.clock() + this.pause;
    return begins;
  }
}
