// Counting within this process, in bounded memory, for use while the console does not decide.

export const MOST_CLIENTS = 10_000;
export const MOST_REQUESTS = 500_000;
const OTHERS = "\0others";
const SWEEP_EVERY = 1000;

interface Window {
  length: number;
  /** When each admitted request came, oldest first. */
  times: number[];
}

/**
 * Moving windows by client. Clients beyond `mostClients` share one window, and once `mostRequests` are held, every request is
 * refused: a flood of addresses fills the memory that is reserved, and lets no client exceed its limit.
 */
export class LocalWindows {
  readonly #windows = new Map<string, Window>();
  #requests = 0;
  #sweptAt = -Infinity;

  constructor(
    private readonly clock: () => number,
    private readonly mostClients = MOST_CLIENTS,
    private readonly mostRequests = MOST_REQUESTS,
  ) {}

  get clients(): number {
    return this.#windows.size;
  }

  get requests(): number {
    return this.#requests;
  }

  /** Return when the requests were admitted that the window still holds. Those of clients who share one are nobody's. */
  admitted(client: string): readonly number[] {
    const window = this.#windows.get(client);
    if (!window) return [];
    this.#drop(window);
    return window.times;
  }

  /** Admit one request if fewer than `most` are in the window. `length` is in milliseconds. */
  admit(client: string, most: number, length: number): boolean {
    const window = this.#windowOf(client, length);
    this.#drop(window);
    if (window.times.length >= most || this.#requests >= this.mostRequests) return false;
    window.times.push(this.clock());
    this.#requests += 1;
    return true;
  }

  /** Return how long until the oldest request leaves the window, in milliseconds. */
  untilFree(client: string, length: number): number {
    const oldest = (this.#windows.get(client) ?? this.#windows.get(OTHERS))?.times[0];
    return oldest === undefined ? length : Math.max(0, oldest + length - this.clock());
  }

  /** Forget the oldest requests of a client: the console counts them now. */
  forget(client: string, count: number): void {
    const window = this.#windows.get(client);
    if (!window) return;
    this.#requests -= window.times.splice(0, count).length;
    if (window.times.length === 0) this.#windows.delete(client);
  }

  #windowOf(client: string, length: number): Window {
    let key = client;
    if (!this.#windows.has(key) && this.#windows.size >= this.mostClients) {
      this.#sweep();
      if (this.#windows.size >= this.mostClients) key = OTHERS;
    }
    const window = this.#windows.get(key) ?? { length, times: [] };
    window.length = length;
    this.#windows.set(key, window);
    return window;
  }

  #drop(window: Window): void {
    const start = this.clock() - window.length;
    let gone = 0;
    while (gone < window.times.length && (window.times[gone] ?? 0) < start) gone += 1;
    if (gone > 0) this.#requests -= window.times.splice(0, gone).length;
  }

  /** Drop the clients without requests. This visits every client, so it runs at most once per second. */
  #sweep(): void {
    if (this.clock() < this.#sweptAt + SWEEP_EVERY) return;
    this.#sweptAt = this.clock();
    for (const [client, window] of this.#windows) {
      this.#drop(window);
      if (window.times.length === 0) this.#windows.delete(client);
    }
  }
}
