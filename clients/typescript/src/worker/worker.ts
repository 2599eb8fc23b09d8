// The worker: receive a message, claim its run, delete the message, work, report.

import { ConsoleHttp, type Fetch, NoAnswer } from "../console-http.js";
import { ConfigurationError, setting, within } from "../environment.js";
import { Backoff, sleep } from "./backoff.js";
import { claim, type Claimed, longer } from "./claim.js";
import { type Message, namedBy, type Receive } from "./message.js";
import { type Ending, report } from "./report.js";
import { type Identity, type Job, PermanentError, Run, WorkerStopped } from "./run.js";

export type Handler = (run: Run) => Promise<Record<string, unknown> | void> | Record<string, unknown> | void;

/** A queue: where its messages come from, and who does its jobs. */
export interface Queue {
  receive: Receive;
  /** One handler for all jobs, or handlers by kind. */
  handler: Handler | Record<string, Handler>;
  /** The kind of a job; default: `payload.kind`. */
  kindOf?: (job: Job) => string;
  /** How many jobs run at once, each as a worker of its own to the console; default: 1. */
  slots?: number;
}

export interface WorkerOptions {
  queues: Record<string, Queue>;
  /** The console's address and an API key with the scope `worker`; default: OPSCONSOLE_URL and OPSCONSOLE_KEY. */
  url?: string;
  key?: string;
  /** How long runs may go on after the order to stop, in milliseconds; default: 20 seconds. */
  graceMs?: number;
  /** How long one request to the console may take, in milliseconds; default: 10 seconds. */
  timeoutMs?: number;
  /** The least time between two reports of the progress of a run, in milliseconds; default: 5 seconds. Each counts under the policy of the key. */
  progressMs?: number;
  /** Stop at SIGTERM and SIGINT; default: true. A second signal ends the process at once. */
  signals?: boolean;
  fetch?: Fetch;
  /** Allow an address that begins with http:// on another machine: the key crosses the network in clear. Default: OPSCONSOLE_ALLOW_PLAIN_HTTP. */
  plainHttp?: boolean;
  log?: (text: string) => void;
}

interface NodeProcess {
  pid?: number;
  once?(signal: string, then: () => void): unknown;
  removeListener?(signal: string, then: () => void): unknown;
}

const SIGNALS = ["SIGTERM", "SIGINT"];
const IDLE_BEAT = 15_000;
const IDLE_PAUSE = 50;

export class Worker {
  readonly id: string;
  readonly #http: ConsoleHttp;
  readonly #options: WorkerOptions;
  readonly #timeout: number;
  readonly #log: (text: string) => void;
  readonly #told = new AbortController();
  readonly #graceOver = new AbortController();
  readonly #process = (globalThis as { process?: NodeProcess }).process;

  constructor(options: WorkerOptions) {
    const url = options.url ?? setting("OPSCONSOLE_URL");
    const key = options.key ?? setting("OPSCONSOLE_KEY");
    if (!url || !key) throw new ConfigurationError("Give the worker the console's url and key, or set OPSCONSOLE_URL and OPSCONSOLE_KEY.");
    if (Object.keys(options.queues).length === 0) throw new ConfigurationError("Give the worker at least one queue.");
    this.#http = new ConsoleHttp(url, key, options.fetch, options.plainHttp);
    this.#options = options;
    if (options.progressMs !== undefined) within("progressMs", options.progressMs, 100, 600_000);
    this.#timeout = within("timeoutMs", options.timeoutMs ?? 10_000, 1, 600_000);
    this.#log = options.log ?? ((text) => console.log(text));
    // New for every start: a worker that kept its id would hide the run that died with it.
    const random = Math.random().toString(36).slice(2, 10).padEnd(8, "0");
    this.id = `node-${this.#process?.pid ?? 0}-${Date.now().toString(36)}-${random}`;
  }

  /** Receive nothing more, and let runs finish within the time of grace. */
  stop(): void {
    if (this.#told.signal.aborted) return;
    this.#told.abort();
    const grace = within("graceMs", this.#options.graceMs ?? 20_000, 0, 2_000_000_000);
    const timer = setTimeout(() => this.#graceOver.abort(), grace) as unknown as { unref?(): void };
    timer.unref?.();
  }

  /** Work until told to stop. Throw if the console does not accept the key. */
  async run(): Promise<void> {
    const stop = (): void => {
      for (const signal of SIGNALS) this.#process?.removeListener?.(signal, stop);
      this.stop();
    };
    if (this.#options.signals ?? true) for (const signal of SIGNALS) this.#process?.once?.(signal, stop);
    try {
      const slots = Object.entries(this.#options.queues).flatMap(([name, queue]) =>
        Array.from({ length: within("slots", queue.slots ?? 1, 1, 1000) }, (_, slot) => this.#slot(queue, this.#identity(name, slot))),
      );
      const ended = await Promise.allSettled(slots.map(async (slot) => slot.catch((error: unknown) => (this.stop(), Promise.reject(error)))));
      const failed = ended.find((each): each is PromiseRejectedResult => each.status === "rejected");
      if (failed) throw failed.reason;
    } finally {
      for (const signal of SIGNALS) this.#process?.removeListener?.(signal, stop);
    }
  }

  #identity(queue: string, slot: number): Identity {
    const identity: Identity = { worker_id: `${this.id}-${queue}-${slot + 1}`.slice(0, 200) };
    if (this.#process?.pid) identity.pid = this.#process.pid;
    return identity;
  }

  /** One run at a time: to the console, each slot is a worker. */
  async #slot(queue: Queue, identity: Identity): Promise<void> {
    const [stopping, backoff] = [this.#told.signal, new Backoff()];
    await this.#firstBeat(identity);
    while (!stopping.aborted) {
      try {
        const message = await this.#receive(queue, identity);
        backoff.reset();
        if (message) await this.#take(queue, identity, message);
        // A `receive` that does not wait would keep the process from everything else.
        else await sleep(IDLE_PAUSE, stopping);
      } catch (error) {
        if (stopping.aborted) break;
        this.#log(`A message could not be received or handled, trying again: ${String(error)}`);
        await sleep(backoff.next(), stopping);
      }
    }
    await this.#say("leave", identity).catch((error: unknown) => this.#log(`Worker ${identity.worker_id} could not leave: ${String(error)}`));
  }

  async #firstBeat(identity: Identity): Promise<void> {
    const backoff = new Backoff();
    while (!this.#told.signal.aborted) {
      try {
        const answer = await this.#say("beat", identity);
        if (answer.status === 401 || answer.status === 403) {
          throw new ConfigurationError(`The console refuses the key: ${String(answer.body["detail"] ?? answer.status)}`);
        }
        if (answer.status < 300) return;
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
      }
      await sleep(backoff.next(), this.#told.signal);
    }
  }

  #say(what: "beat" | "leave", identity: Identity): ReturnType<ConsoleHttp["post"]> {
    return this.#http.post(`workers/${what}`, identity, this.#timeout);
  }

  /** Wait for a message, and send heartbeats meanwhile: an idle worker is alive. */
  async #receive(queue: Queue, identity: Identity): Promise<Message | undefined> {
    let beating: Promise<unknown> = Promise.resolve();
    const timer = setInterval(() => (beating = this.#say("beat", identity).catch(() => undefined)), IDLE_BEAT);
    try {
      return await queue.receive(this.#told.signal);
    } finally {
      clearInterval(timer);
      // It names no job, so it may not arrive after the claim.
      await beating;
    }
  }

  async #take(queue: Queue, identity: Identity, message: Message): Promise<void> {
    if (this.#told.signal.aborted) return void (await message.hide(0));
    const named = namedBy(message.body);
    if (!named) {
      this.#log("A message that is no job message was returned to its queue, which makes a dead letter of it.");
      return void (await message.hide(longer(message)));
    }
    const claimed = await claim(this.#http, identity, message, named, this.#timeout, this.#log);
    if (claimed) await this.#carryOut(queue, identity, claimed);
  }

  async #carryOut(queue: Queue, identity: Identity, { job, beatEvery }: Claimed): Promise<void> {
    const run = new Run(job, this.#told.signal, this.#http, identity, beatEvery, this.#timeout, this.#log, this.#options.progressMs);
    const outOfTime = (): void => run.abort(new WorkerStopped());
    this.#graceOver.signal.addEventListener("abort", outOfTime);
    if (this.#graceOver.signal.aborted) outOfTime();
    await run.beat();
    run.startBeating();
    let ending: Ending;
    try {
      ending = await work(queue, run);
    } finally {
      await run.stopBeating();
      this.#graceOver.signal.removeEventListener("abort", outOfTime);
    }
    if (run.lost) {
      this.#log(`Job ${job.id} run ${job.epoch}: left: ${run.lost.message}`);
      return;
    }
    await report(this.#http, run, ending, this.#timeout, this.#graceOver.signal, this.#log);
  }
}

/** Call the handler; return what is to be reported. */
async function work(queue: Queue, run: Run): Promise<Ending> {
  try {
    run.signal.throwIfAborted();
    const details = await handlerOf(queue, run.job)(run);
    return { kind: "complete", details: details ?? {} };
  } catch (error) {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { kind: "fail", error: text, retryable: !(error instanceof PermanentError) };
  }
}

function handlerOf(queue: Queue, job: Job): Handler {
  if (typeof queue.handler === "function") return queue.handler;
  const kind = queue.kindOf?.(job) ?? String(job.payload["kind"] ?? "");
  const handler = Object.hasOwn(queue.handler, kind) ? queue.handler[kind] : undefined;
  // Another worker may know it, after a deployment.
  if (!handler) throw new Error(`This worker has no handler for jobs of the kind '${kind}'.`);
  return handler;
}
