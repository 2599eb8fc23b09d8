// The claim of a run: whose it is, and what becomes of its message.

import { type Answer, type ConsoleHttp, NoAnswer } from "../console-http.js";
import { Backoff, sleep } from "./backoff.js";
import { jobPath } from "./job-path.js";
import type { Message, Named } from "./message.js";
import type { Progress } from "./progress.js";
import type { Identity, Job } from "./run.js";

const FIRST_HIDDEN = 10;
const LONGEST_HIDDEN = 900;
const MOST_TRIES = 8;

export interface Claimed {
  job: Job;
  beatEvery: number;
}

/** Claim the run that a message names. Undefined: it is not ours, and the message was removed, hidden or left. */
export async function claim(
  http: ConsoleHttp,
  identity: Identity,
  message: Message,
  named: Named,
  timeout: number,
  log: (text: string) => void,
): Promise<Claimed | undefined> {
  const backoff = new Backoff();
  let doubt = false;
  for (let tries = 1; tries <= MOST_TRIES; tries += 1) {
    const answer = await asked(http, identity, named, doubt, timeout);
    if (answer?.status === 200 && answer.ofConsole) {
      await message.remove().catch((error: unknown) => log(`A message stays, and will be refused: ${String(error)}`));
      return claimed(named.jobId, answer.body);
    }
    // The run may be ours: only its row can tell.
    const unknown: boolean = !answer?.ofConsole || answer.body["outcome"] === "unknown" || (doubt && answer.body["reason"] === "locked");
    if (!unknown && answer && answer.status !== 503 && answer.status !== 429) {
      await decline(message, answer, log);
      return undefined;
    }
    doubt ||= unknown;
    await sleep(backoff.next(answer?.retryAfter));
  }
  log(`The claim of job ${named.jobId} got no answer. Its message stays in the queue.`);
  return undefined;
}

async function asked(
  http: ConsoleHttp,
  identity: Identity,
  named: Named,
  doubt: boolean,
  timeout: number,
): Promise<Answer | undefined> {
  const body = { ...identity, run_epoch: named.runEpoch ?? null, dead_letter_id: named.deadLetterId ?? null, asked_before: doubt };
  try {
    return await http.post(jobPath(named.jobId, "claim"), body, timeout);
  } catch (error) {
    if (error instanceof NoAnswer) return undefined;
    throw error;
  }
}

async function decline(message: Message, answer: Answer, log: (text: string) => void): Promise<void> {
  const { settled, reason, detail, retryAfter } = answer.body;
  const done = settled === true ? message.remove() : message.hide(hiddenFor(message, reason, retryAfter));
  await done.catch((error: unknown) => log(`A message could not be returned: ${String(error)}`));
  if (settled !== true) log(`A message was returned: status ${answer.status}, ${String(detail ?? reason ?? "no reason")}`);
}

/** A run that may not start yet waits for its time; others for longer with each receive. */
function hiddenFor(message: Message, reason: unknown, retryAfter: unknown): number {
  const told = typeof retryAfter === "number" ? retryAfter : 0;
  if (reason === "too_early" || reason === "worker_id_taken") return Math.max(1, told);
  return longer(message, Math.max(told, FIRST_HIDDEN));
}

export function longer(message: Message, first = FIRST_HIDDEN): number {
  return Math.min(LONGEST_HIDDEN, first * 2 ** Math.min(Math.max(0, message.receiveCount - 1), 10));
}

/** A console of an earlier version says none. */
function progressOf(said: unknown): Progress | undefined {
  if (typeof said !== "object" || said === null) return undefined;
  const { percent, text, run_epoch: epoch, at } = said as Record<string, unknown>;
  return { percent: typeof percent === "number" ? percent : null, text: String(text), epoch: Number(epoch), at: String(at) };
}

/** The id is the one that was asked for: as a number of the answer it may have lost digits. */
function claimed(id: string, body: Record<string, unknown>): Claimed {
  const seconds = Number(body["beat_every_seconds"]);
  return {
    job: {
      id,
      customerId: (body["customer_id"] ?? null) as string | null,
      packageSize: (body["package_size"] ?? null) as number | string | null,
      priority: (body["priority"] ?? null) as string | null,
      payload: (body["payload"] ?? {}) as Record<string, unknown>,
      epoch: Number(body["run_epoch"]),
      attempts: Number(body["attempts"] ?? 0),
      lastProgress: progressOf(body["last_progress"]),
    },
    beatEvery: (seconds > 0 ? seconds : 15) * 1000,
  };
}
