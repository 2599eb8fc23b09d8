// The decision about a request: ask the console within the budget, and count here while it does not decide.

import { type Answer, type ConsoleHttp, NoAnswer } from "../console-http.js";
import { read, type Told } from "./answers.js";
import type { Breaker } from "./breaker.js";
import { Decision, type Facts } from "./decision.js";
import type { Known, KnownClients } from "./known-clients.js";
import type { LocalWindows } from "./local-windows.js";

/** A client that was refused asks the console at most this often. */
export const ASK_REFUSED_EVERY = 1000;
// Beginning a question takes a moment, in which nothing else of this process runs. More at once would cost every request its budget.
const MOST_ASKED_AT_ONCE = 64;
const MOST_COST = 1000;
const COMPLAIN_EVERY = 60_000;

/** What limiters of one policy share within a process, whichever copy of this package they came from. */
export interface Shared {
  breaker: Breaker;
  known: KnownClients;
  local: LocalWindows;
  /** How many questions about each client have no answer yet. */
  asking: Map<string, number>;
  complainedAt: number;
}

export interface LimiterOptions {
  policy: string;
  /** What counts until the console has answered once; the window is in seconds. */
  limit: number;
  window: number;
  /** How long a request may wait for the console, in milliseconds. */
  budget: number;
  /** How many processes share the limit while the console does not decide. */
  instances: number;
  clock: () => number;
  log: (message: string) => void;
}

export class Limiter {
  constructor(
    private readonly http: ConsoleHttp | undefined,
    private readonly shared: Shared,
    private readonly options: LimiterOptions,
  ) {}

  /** Count one request of a client, and decide. Never throws, and never takes longer than the budget. */
  async decide(client: string): Promise<Decision> {
    const known = this.shared.known.get(client);
    const now = this.options.clock();
    const refusal = known && now < known.refusedUntil ? known.refusal : undefined;
    const askedLately = known && (known.asking || now < known.askAgainAt);
    if (!this.http || (refusal && askedLately) || !this.#mayAsk(client, known, now)) {
      return refusal && known ? remembered(refusal, known.refusedUntil - now) : this.#count(client);
    }
    const untold = this.#untold(client, known);
    this.#begin(client, known);
    let told: Told;
    try {
      told = await this.#ask(this.http, client, 1 + untold);
    } finally {
      this.#end(client, known);
    }
    return this.#learn(client, told, untold);
  }

  #mayAsk(client: string, known: Known | undefined, now: number): boolean {
    if (known && now < known.askAgainAt) return false;
    if (this.#unanswered() >= MOST_ASKED_AT_ONCE) return false;
    const limit = known?.limit ?? this.options.limit;
    // The console refuses to count more at once than the limit allows.
    if (this.shared.local.admitted(client).length >= limit) return false;
    return this.shared.breaker.allows();
  }

  /** Return how many questions have no answer yet, about all clients. */
  #unanswered(): number {
    let sum = 0;
    for (const count of this.shared.asking.values()) sum += count;
    return sum;
  }

  #untold(client: string, known: Known | undefined): number {
    const limit = known?.limit ?? this.options.limit;
    return Math.min(this.shared.local.admitted(client).length, MOST_COST - 1, limit - 1);
  }

  #begin(client: string, known: Known | undefined): void {
    if (known) known.asking = true;
    this.shared.asking.set(client, (this.shared.asking.get(client) ?? 0) + 1);
  }

  #end(client: string, known: Known | undefined): void {
    if (known) known.asking = false;
    const left = (this.shared.asking.get(client) ?? 1) - 1;
    if (left > 0) this.shared.asking.set(client, left);
    else this.shared.asking.delete(client);
  }

  /** Ask within the budget; once more, if a kept connection turns out to be closed. */
  async #ask(http: ConsoleHttp, client: string, cost: number): Promise<Told> {
    const { policy, budget, clock } = this.options;
    const deadline = clock() + budget;
    const post = async (): Promise<Answer> =>
      http.post("limits/check", { policy, identity: client, cost }, Math.max(1, deadline - clock()));
    try {
      return read(await post(), policy);
    } catch (error) {
      const broken = error instanceof NoAnswer && error.broken && clock() < deadline;
      if (!broken) return { kind: "failed", reason: String((error as Error).message) };
    }
    try {
      return read(await post(), policy);
    } catch (error) {
      return { kind: "failed", reason: String((error as Error).message) };
    }
  }

  #learn(client: string, told: Told, untold: number): Decision {
    if (told.kind === "failed") {
      const begins = this.shared.breaker.failed();
      this.#complain(`${told.reason}. This process counts requests by itself meanwhile.`, begins);
      return this.#count(client);
    }
    if (this.shared.breaker.succeeded()) this.options.log("@opsconsole/client: the console answers again.");
    if (told.kind === "refused") {
      this.#complain(`${told.reason}. This process counts these requests by itself.`, false);
      return this.#count(client);
    }
    const known = this.shared.known.getOrCreate(client, this.options.limit, this.options.window);
    if (told.kind === "quota") {
      this.#complain("the API key has used its quota. This process counts requests by itself meanwhile.", false);
      known.askAgainAt = this.options.clock() + told.retryAfter;
      if (told.limit > 0) this.#remember(known, told);
      return this.#count(client);
    }
    this.#remember(known, told.facts);
    if (told.facts.allowed) this.#welcome(client, known, untold);
    else this.#turnAway(known, told.facts);
    return new Decision(told.facts, "console", told.headers);
  }

  #welcome(client: string, known: Known, untold: number): void {
    known.refusal = undefined;
    known.refusedUntil = known.askAgainAt = -Infinity;
    this.shared.local.forget(client, untold);
  }

  #turnAway(known: Known, facts: Facts): void {
    const now = this.options.clock();
    known.refusal = facts;
    known.refusedUntil = now + facts.retryAfter * 1000;
    known.askAgainAt = now + ASK_REFUSED_EVERY;
  }

  #remember(known: Known, told: { limit: number; window: number; remaining: number | undefined }): void {
    const now = this.options.clock();
    known.limit = told.limit;
    known.window = told.window;
    if (told.remaining === undefined) return;
    // Answers to questions that were asked side by side come in any order.
    const recent = now < known.toldAt + 2 * this.options.budget && now < known.remainingUntil;
    known.remaining = recent ? Math.min(known.remaining, told.remaining) : told.remaining;
    known.toldAt = now;
    known.remainingUntil = now + 1000 * told.window;
  }

  /** Decide here: within this process's share of what remained, and once that is a window ago, of the limit. */
  #count(client: string): Decision {
    const { clock, instances, policy } = this.options;
    const known = this.shared.known.get(client);
    const limit = known?.limit ?? this.options.limit;
    const window = known?.window ?? this.options.window;
    const left = known && clock() < known.remainingUntil ? known.remaining : limit;
    const share = left < limit ? Math.floor(left / instances) : Math.max(1, Math.floor(limit / instances));
    // What was asked and not answered yet may pass, too.
    const most = share - (this.shared.asking.get(client) ?? 0);
    const allowed = this.shared.local.admit(client, most, window * 1000);
    const used = this.shared.local.admitted(client).length;
    const reset = Math.max(1, Math.ceil(this.shared.local.untilFree(client, window * 1000) / 1000));
    const facts: Facts = {
      allowed,
      policy,
      limit,
      window,
      remaining: allowed ? Math.max(0, share - used) : 0,
      reset,
      retryAfter: allowed ? 0 : reset,
    };
    return new Decision(facts, "process");
  }

  #complain(reason: string, atOnce: boolean): void {
    const now = this.options.clock();
    if (!atOnce && now < this.shared.complainedAt + COMPLAIN_EVERY) return;
    this.shared.complainedAt = now;
    this.options.log(`@opsconsole/client: the console does not decide: ${reason}`);
  }
}

function remembered(refusal: Facts, left: number): Decision {
  const seconds = Math.max(1, Math.ceil(left / 1000));
  return new Decision({ ...refusal, reset: Math.min(refusal.reset, seconds), retryAfter: seconds }, "memory");
}
