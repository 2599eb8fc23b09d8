// A decision about one request, with the headers and the body that the console itself would send.

const QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded";
export const PROBLEM = "application/problem+json";

/** The body of a 429: a problem document (RFC 9457) with the fields `error`, `message` and `retryAfter`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  "violated-policies": string[];
  error: string;
  message: string;
  retryAfter: number;
}

export interface Facts {
  allowed: boolean;
  policy: string;
  limit: number;
  /** Seconds. */
  window: number;
  remaining: number;
  /** Seconds until the oldest counted request leaves the window. */
  reset: number;
  /** Seconds until a request would be allowed; 0 if this one is. */
  retryAfter: number;
}

export class Decision implements Facts {
  readonly allowed: boolean;
  readonly policy: string;
  readonly limit: number;
  readonly window: number;
  readonly remaining: number;
  readonly reset: number;
  readonly retryAfter: number;
  /** What to add to the response: `RateLimit`, `RateLimit-Policy`, and for a refused request `Retry-After`. */
  readonly headers: Record<string, string>;
  /** The body of the 429; null if the request is allowed. */
  readonly body: Problem | null;

  constructor(
    facts: Facts,
    /** Who decided: the console, the memory of a refusal, or this process's own count. */
    readonly decidedBy: "console" | "memory" | "process",
    headers: Record<string, string> = headersOf(facts),
  ) {
    this.allowed = facts.allowed;
    this.policy = facts.policy;
    this.limit = facts.limit;
    this.window = facts.window;
    this.remaining = facts.remaining;
    this.reset = facts.reset;
    this.retryAfter = facts.retryAfter;
    this.headers = headers;
    this.body = facts.allowed ? null : bodyOf(facts);
  }

  /** Return the 429 for an app route or middleware. */
  response(): Response {
    const headers = { ...this.headers, "Content-Type": PROBLEM };
    return new Response(JSON.stringify(this.body), { status: 429, headers });
  }

  /** Add the headers to a response of yours. */
  setHeaders(headers: Headers): void {
    for (const [name, value] of Object.entries(this.headers)) headers.set(name, value);
  }
}

function headersOf(facts: Facts): Record<string, string> {
  const headers: Record<string, string> = {
    "RateLimit-Policy": `"${facts.policy}";q=${facts.limit};w=${facts.window}`,
    RateLimit: `"${facts.policy}";r=${facts.remaining};t=${facts.reset}`,
  };
  if (!facts.allowed) {
    headers["Retry-After"] = String(facts.retryAfter);
    headers["Cache-Control"] = "no-store";
  }
  return headers;
}

function bodyOf(facts: Facts): Problem {
  const message = `Rate limit exceeded. Max ${facts.limit} requests per ${facts.window}s`;
  return {
    type: QUOTA_EXCEEDED,
    title: "Too many requests",
    status: 429,
    detail: message,
    "violated-policies": [facts.policy],
    error: "Too many requests",
    message,
    retryAfter: facts.retryAfter,
  };
}
