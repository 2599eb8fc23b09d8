// One run of a job, as its handler sees it, and its heartbeats.

import { type Answer, type ConsoleHttp, NoAnswer, repeatable } from "../console-http.js";
import { Backoff, sleep } from "./backoff.js";
import { jobPath } from "./job-path.js";
import { checkedProgress, EVERY, type Outcome, type Progress, type Said, UnsentProgress } from "./progress.js";

const LONGEST_NOTE = 10_000;

export interface Job {
  id: string;
  customerId: string | null;
  packageSize: number | string | null;
  priority: string | null;
  payload: Record<string, unknown>;
  epoch: number;
  /** How many earlier runs reported a failure. */
  attempts: number;
  /** How far the last earlier run was that reported progress; undefined if none did. */
  lastProgress: Progress | undefined;
}

/** The run was cancelled, or given to another worker: nothing that it reports counts. */
export class RunLost extends Error {
  override name = "RunLost";

  constructor(readonly verdict: string) {
    super(`The run was ${verdict}.`);
  }
}

/** The worker was told to stop, and the time to finish is over. The job runs again. */
export class WorkerStopped extends Error {
  override name = "WorkerStopped";

  constructor() {
    super("The worker was stopped before the run ended.");
  }
}

/** Throw this in a handler when another run would fail too: the job fails now. */
export class PermanentError extends Error {
  override name = "PermanentError";
}

/** What every request of a worker says of it. */
export interface Identity {
  worker_id: string;
  hostname?: string;
  pid?: number;
}

export class Run {
  readonly #aborter = new AbortController();
  #timer: ReturnType<typeof setInterval> | undefined;
  #beating: Promise<unknown> = Promise.resolve();
  #lost: RunLost | undefined;
  #notes = 0;
  readonly #progress: UnsentProgress;

  constructor(
    readonly job: Job,
    /** Aborted when the worker was told to stop: begin nothing new, and finish soon. */
    readonly stopping: AbortSignal,
    private readonly http: ConsoleHttp,
    private readonly identity: Identity,
    private readonly beatEvery: number,
    private readonly timeout: number,
    private readonly log: (text: string) => void = () => undefined,
    progressEvery = EVERY,
  ) {
    this.#progress = new UnsentProgress((said) => this.#sendProgress(said), progressEvery);
  }

  /** Aborted when the run is lost, and when the time to finish after the order to stop is over. */
  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  get lost(): RunLost | undefined {
    return this.#lost;
  }

  /** The address of the console where this run says something. */
  path(verb: string): string {
    return jobPath(this.job.id, verb);
  }

  /**
   * Record what the run has done outside. Operators read it before they send the job again. The call waits while the console is
   * away, and repeats the note until it is kept, once. It throws when the run is lost or out of time, or the console refuses the note.
   */
  async note(note: string, reference = ""): Promise<void> {
    const backoff = new Backoff();
    const said = { ...this.said, note: note.slice(0, LONGEST_NOTE), reference: reference.slice(0, LONGEST_NOTE), once: String((this.#notes += 1)) };
    for (let tried = false; ; tried = true) {
      const answer = await this.#told({ ...said, asked_before: tried });
      if (answer && !repeatable(answer)) {
        if (answer.status !== 200) throw new Error(`The note was not recorded: ${String(answer.body["detail"] ?? answer.status)}`);
        return this.#heard(answer.body["verdict"]);
      }
      // It may be told that nobody waits for the run any longer, or be out of time.
      this.signal.throwIfAborted();
      await sleep(backoff.next(answer?.retryAfter), this.signal);
      this.signal.throwIfAborted();
    }
  }

  async #told(said: Record<string, unknown>): Promise<Answer | undefined> {
    try {
      return await this.http.post(this.path("progress"), said, this.timeout);
    } catch (error) {
      if (error instanceof NoAnswer) return undefined;
      throw error;
    }
  }

  /**
   * Say how far the run is, from 0 to 100 percent (null: unknown) and in words. It returns at once; about every five seconds the
   * newest report is sent. The job's page shows it, and the job's next run receives the last one.
   */
  progress(percent: number | null, text = ""): void {
    this.#progress.put(checkedProgress(percent, text));
  }

  /** Send the last progress before the report of the run, as far as that succeeds within a moment. */
  sendLastProgress(): Promise<void> {
    return this.#progress.last();
  }

  async #sendProgress(said: Said): Promise<Outcome> {
    let answer: Answer;
    try {
      answer = await this.http.post(this.path("percent"), { ...this.said, ...said }, this.timeout);
    } catch {
      return { outcome: "later" };
    }
    if (answer.status === 200 && answer.ofConsole) {
      this.#heard(answer.body["verdict"]);
      return { outcome: "sent" };
    }
    if (repeatable(answer)) return { outcome: "later", pause: answer.retryAfter };
    this.log(`Job ${this.job.id} run ${this.job.epoch}: its progress can't be kept: ${String(answer.body["detail"] ?? answer.status)}`);
    return { outcome: "never" };
  }

  get said(): Record<string, unknown> {
    return { ...this.identity, run_epoch: this.job.epoch };
  }

  abort(reason: Error): void {
    if (!this.signal.aborted) this.#aborter.abort(reason);
  }

  startBeating(): void {
    let beating = false;
    this.#timer = setInterval(() => {
      if (beating) return;
      beating = true;
      this.#beating = this.beat().finally(() => (beating = false));
    }, this.beatEvery);
  }

  /** No heartbeat may arrive after the report, and name the job again. */
  async stopBeating(): Promise<void> {
    clearInterval(this.#timer);
    await this.#beating;
  }

  /** Return whether the console answered. */
  async beat(): Promise<boolean> {
    try {
      const answer = await this.http.post(this.path("beat"), this.said, this.timeout);
      if (answer.status === 200) this.#heard(answer.body["verdict"]);
      // The job's row is gone.
      if (answer.status === 404 && answer.body["reason"] === "unknown_job") this.#heard("superseded");
      return answer.ofConsole;
    } catch {
      // The next heartbeat tries again. Whether the run is lost is the console's to say.
      return false;
    }
  }

  #heard(verdict: unknown): void {
    if (verdict === "continue" || typeof verdict !== "string" || this.#lost) return;
    this.#lost = new RunLost(verdict);
    this.abort(this.#lost);
  }
}
