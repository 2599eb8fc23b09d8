// How far a run is: only the newest report is sent, and seldom, however often a handler reports.

import { Backoff, sleep } from "./backoff.js";

/** How far a run was when it last said so. `percent` is null where it did not know; `epoch` is the run. */
export interface Progress {
  percent: number | null;
  text: string;
  epoch: number;
  /** The time of the report, ISO 8601. */
  at: string;
}

export interface Said {
  percent: number | null;
  text: string;
}

/** What became of a report: the console has it, may take it later, or never takes any of this run. */
export type Outcome = { outcome: "sent" | "never" } | { outcome: "later"; pause?: number | undefined };

const LONGEST_TEXT = 500;
// As long as a page takes between two looks: the policy of the key counts each report.
export const EVERY = 5_000;
// The result of a run is worth more than its last progress, and waits for it for so long at each try.
const LAST_WAIT = 2_000;

/** Return what is sent: percent to one decimal, never rounded up. Throw a sentence unless it is a percentage. */
export function checkedProgress(percent: unknown, text: unknown): Said {
  if (typeof text !== "string") throw new TypeError(`The text of the progress must be a string, not ${typeof text}.`);
  const words = [...text.replaceAll("\0", "")].slice(0, LONGEST_TEXT).join("");
  if (percent === null) {
    if (words.trim() === "") throw new RangeError("Progress without percent needs a text.");
    return { percent, text: words };
  }
  if (typeof percent !== "number" || !(percent >= 0 && percent <= 100)) {
    throw new RangeError(`Percent must be a number from 0 to 100, or null, not ${String(percent)}.`);
  }
  return { percent: Math.floor(percent * 10) / 10, text: words };
}

export class UnsentProgress {
  #newest: Said | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sending: Promise<void> | undefined;
  #rest: Promise<void> | undefined;
  #dueAt = 0;
  #ended = false;
  readonly #backoff = new Backoff();

  constructor(
    private readonly send: (said: Said) => Promise<Outcome>,
    private readonly every: number,
  ) {}

  /** Keep this report in place of an earlier one. */
  put(said: Said): void {
    if (this.#ended) return;
    this.#newest = said;
    this.#schedule();
  }

  /** Send what is left when the work has ended. Called again, it tries again; it waits for a moment only. */
  async last(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    const sent = new AbortController();
    this.#rest ??= this.#sendRest().finally(() => (this.#rest = undefined));
    await Promise.race([this.#rest.finally(() => sent.abort()), sleep(LAST_WAIT, sent.signal)]);
  }

  async #sendRest(): Promise<void> {
    await this.#sending;
    if (this.#newest) await this.#sendNewest();
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#sending || this.#ended || !this.#newest) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#sending = this.#sendNewest().finally(() => {
          this.#sending = undefined;
          this.#schedule();
        });
      },
      Math.max(0, this.#dueAt - performance.now()),
    );
  }

  async #sendNewest(): Promise<void> {
    const said = this.#newest;
    if (!said) return;
    const told = await this.send(said);
    let pause = this.every;
    if (told.outcome === "later") pause = Math.max(pause, this.#backoff.next(told.pause));
    else this.#backoff.reset();
    if (told.outcome === "never") this.#ended = true;
    if (told.outcome === "never" || (told.outcome === "sent" && this.#newest === said)) this.#newest = undefined;
    this.#dueAt = performance.now() + pause;
  }
}
