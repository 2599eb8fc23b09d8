// One run of a job, as its handler sees it, and its heartbeats.

import type { ConsoleHttp } from "../console-http.js";

export interface Job {
  id: string;
  customerId: string | null;
  packageSize: number | string | null;
  priority: string | null;
  payload: Record<string, unknown>;
  epoch: number;
  /** How many earlier runs reported a failure. */
  attempts: number;
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

  constructor(
    readonly job: Job,
    /** Aborted when the worker was told to stop: begin nothing new, and finish soon. */
    readonly stopping: AbortSignal,
    private readonly http: ConsoleHttp,
    private readonly identity: Identity,
    private readonly beatEvery: number,
    private readonly timeout: number,
  ) {}

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
