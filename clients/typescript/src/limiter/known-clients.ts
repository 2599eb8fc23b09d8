// What the console last said about each client, in bounded memory. Losing an entry costs a question, never a limit.

import type { Facts } from "./decision.js";

export interface Known {
  limit: number;
  window: number;
  /** What was left of the limit at the last answer, and until when that says anything. */
  remaining: number;
  remainingUntil: number;
  toldAt: number;
  /** The last refusal, and until when it holds. */
  refusal: Facts | undefined;
  refusedUntil: number;
  /** Nobody asks about this client before. */
  askAgainAt: number;
  asking: boolean;
}

export class KnownClients {
  readonly #clients = new Map<string, Known>();

  constructor(private readonly most: number) {}

  get size(): number {
    return this.#clients.size;
  }

  get(client: string): Known | undefined {
    const known = this.#clients.get(client);
    if (known) {
      // The least recently used is first.
      this.#clients.delete(client);
      this.#clients.set(client, known);
    }
    return known;
  }

  getOrCreate(client: string, limit: number, window: number): Known {
    const known = this.get(client);
    if (known) return known;
    const created: Known = {
      limit,
      window,
      remaining: limit,
      remainingUntil: -Infinity,
      toldAt: -Infinity,
      refusal: undefined,
      refusedUntil: -Infinity,
      askAgainAt: -Infinity,
      asking: false,
    };
    if (this.#clients.size >= this.most) {
      const oldest = this.#clients.keys().next();
      if (!oldest.done) this.#clients.delete(oldest.value);
    }
    this.#clients.set(client, created);
    return created;
  }
}
