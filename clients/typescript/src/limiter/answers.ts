// What an answer of POST /api/limits/check says.

import type { Answer } from "../console-http.js";
import type { Facts } from "./decision.js";

export type Told =
  | { kind: "decided"; facts: Facts; headers: Record<string, string> }
  /** The key has no quota left: nothing was decided. */
  | { kind: "quota"; limit: number; window: number; remaining: number | undefined; retryAfter: number }
  /** This question can't be answered, and others may be. */
  | { kind: "refused"; reason: string }
  /** Nobody's question is answered. */
  | { kind: "failed"; reason: string };

const ONE_SECOND = 1000;

export function read(answer: Answer, policy: string): Told {
  const { status, body } = answer;
  const detail = typeof body["detail"] === "string" ? `: ${body["detail"]}` : "";
  if (status === 200 && typeof body["allowed"] === "boolean") return decided(body, body["allowed"], policy);
  if (status === 503 && body["reason"] === "check_quota") return quota(answer);
  const reason = `status ${status}${detail}`;
  return status === 422 ? { kind: "refused", reason } : { kind: "failed", reason };
}

function decided(body: Record<string, unknown>, allowed: boolean, policy: string): Told {
  const facts: Facts = {
    allowed,
    policy: typeof body["policy"] === "string" ? body["policy"] : policy,
    limit: number(body["limit"], 1),
    window: number(body["window"], 1),
    remaining: number(body["remaining"], 0),
    reset: number(body["reset"], 0),
    retryAfter: allowed ? 0 : Math.max(1, number(body["retry_after"], 1)),
  };
  return { kind: "decided", facts, headers: texts(body["headers"]) };
}

function quota(answer: Answer): Told {
  const client = (answer.body["client"] ?? {}) as Record<string, unknown>;
  return {
    kind: "quota",
    limit: number(client["limit"], 0),
    window: number(client["window"], 0),
    remaining: typeof client["remaining"] === "number" ? client["remaining"] : undefined,
    retryAfter: answer.retryAfter ?? ONE_SECOND,
  };
}

function number(value: unknown, otherwise: number): number {
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}

function texts(value: unknown): Record<string, string> {
  const pairs = typeof value === "object" && value !== null ? Object.entries(value) : [];
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => typeof pair[1] === "string"));
}
