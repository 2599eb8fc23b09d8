// The report of how a run ended, repeated until the console has it: it counts once.

import { type Answer, type ConsoleHttp, NoAnswer, repeatable, TOO_LARGE } from "../console-http.js";
import { Backoff, sleep } from "./backoff.js";
import type { Run } from "./run.js";

export type Ending =
  | { kind: "complete"; details: Record<string, unknown> }
  | { kind: "fail"; error: string; retryable: boolean };

const LONGEST_ERROR = 2000;
// The console takes the work without a result that it can't store.
const UNSTORABLE = [400, TOO_LARGE, 422];
// What is too large may be cut off in place of an answer. Smaller results never are.
const LARGE = 64 * 1024;
const MOST_CUT_OFF = 3;

/** Report until an answer is final, or the signal is aborted. Return false if nobody has the report. */
export async function report(
  http: ConsoleHttp,
  run: Run,
  ending: Ending,
  timeout: number,
  givenUp: AbortSignal,
  log: (text: string) => void,
): Promise<boolean> {
  const backoff = new Backoff();
  let { kind, ...said } = ending as { kind: string } & Record<string, unknown>;
  if (typeof said["error"] === "string") said = { ...said, error: said["error"].slice(0, LONGEST_ERROR) };
  if (kind === "complete") said = { details: storable(said["details"]) };
  for (let cutOff = 0; ; ) {
    if (cutOff === MOST_CUT_OFF) {
      said = { details: { result_not_kept: `the connection broke each time that ${sizeOf(said)} bytes were sent` } };
      cutOff += 1;
    }
    // A run that has ended can't say how far it is.
    await run.sendLastProgress();
    const answer = await told(http, run.path(kind), { ...run.said, ...said }, timeout);
    const final = answer && !repeatable(answer);
    // The work counts, whatever the handler returned.
    const refusal = final && UNSTORABLE.includes(answer.status) ? String(answer.body["detail"] ?? "the console refused it") : undefined;
    if (refusal !== undefined && kind === "complete" && !isReplaced(said)) {
      said = { details: { result_not_kept: refusal } };
      continue;
    }
    if (final) {
      const outcome = answer.status === 200 ? answer.body["outcome"] : `refused (${String(answer.body["detail"] ?? answer.status)})`;
      if (answer.status !== 200 || kind === "fail") log(`Job ${run.job.id} run ${run.job.epoch}: ${String(outcome)}`);
      return true;
    }
    if (givenUp.aborted) {
      log(`Job ${run.job.id} run ${run.job.epoch}: the result could not be recorded. The run will be found stale.`);
      return false;
    }
    // A run that waits to be reported is alive.
    const answers = await run.beat();
    if (!answer && answers && kind === "complete" && sizeOf(said) > LARGE) cutOff += 1;
    await sleep(backoff.next(answer?.retryAfter), givenUp);
  }
}

/** Return the result, or why it is none that JSON can hold. */
function storable(details: unknown): unknown {
  try {
    JSON.stringify(details);
    return details;
  } catch (error) {
    return { result_not_kept: `it is not JSON (${String(error)})` };
  }
}

function isReplaced(said: Record<string, unknown>): boolean {
  const details = said["details"];
  return typeof details === "object" && details !== null && "result_not_kept" in details;
}

function sizeOf(said: Record<string, unknown>): number {
  return new TextEncoder().encode(JSON.stringify(said)).length;
}

async function told(http: ConsoleHttp, path: string, body: unknown, timeout: number): Promise<Answer | undefined> {
  try {
    return await http.post(path, body, timeout);
  } catch (error) {
    if (error instanceof NoAnswer) return undefined;
    throw error;
  }
}
