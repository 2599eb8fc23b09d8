// One run of a job, as its handler sees it, and its heartbeats.

import { type Answer, type ConsoleHttp, repeatable } from "../console-http.js";
import { checkedProgress, EVERY, type Outcome, type Progress, type Said, UnsentProgress } from "./progress.js";

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
  #beating: Promise<void> = Promise.resolve();
  #lost: RunLost | undefined;
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

  get path(): string {
    return `jobs/${encodeURIComponent(this.job.id)}`;
  }

  /** Record what the run has done outside. Operators read it before they send the job again. */
  async note(note: string, reference = ""): Promise<void> {
    const answer = await this.http.post(`${this.path}/progress`, { ...this.said, note, reference }, this.timeout);
    if (answer.status !== 200) throw new Error(`The note was not recorded: status ${answer.status}.`);
    this.#heard(answer.body["verdict"]);
  }

  /**
   * Say how far the run is, from 0 to 100 percent (null: unknown) and in words. It returns at once; about every five seconds the
   * newest report is sent. The job's page shows it, and the job's next run receives the last one.
   */
  progress(percent: number | null, text = ""): void {
    this.#progress.put(checkedProgress(percent, text));
  }

  /** Send the last progress: a run that has ended can't say how far it is. */
  sendLastProgress(): Promise<void> {
    return this.#progress.last();
  }

  async #sendProgress(said: Said): Promise<Outcome> {
    let answer: Answer;
    try {
      answer = await this.http.post(`${this.path}/percent`, { ...this.said, ...said }, this.timeout);
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

  async beat(): Promise<void> {
    try {
      const answer = await this.http.post(`${this.path}/beat`, this.said, this.timeout);
      if (answer.status === 200) this.#heard(answer.body["verdict"]);
      // The job's row is gone.
      if (answer.status === 404 && answer.body["reason"] === "unknown_job") this.#heard("superseded");
    } catch {
      // The next heartbeat tries again. Whether the run is lost is the console's to say.
    }
  }

  #heard(verdict: unknown): void {
    if (verdict === "continue" || typeof verdict !== "string" || this.#lost) return;
    this.#lost = new RunLost(verdict);
    this.abort(this.#lost);
  }
}
