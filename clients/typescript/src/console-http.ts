// HTTP to the console: one POST within a hard limit of time.

import { ConfigurationError, setting } from "./environment.js";

export type Fetch = typeof fetch;

export interface Answer {
  status: number;
  /** It is the console's, which says its version with each answer, and not that of something before it. */
  ofConsole: boolean;
  /** The JSON object of the body; empty where there is none. */
  body: Record<string, unknown>;
  /** Milliseconds, from the header Retry-After. */
  retryAfter: number | undefined;
}

/** The console gave no answer, or not in time. Whether it did what was asked is unknown. */
export class NoAnswer extends Error {
  override name = "NoAnswer";

  constructor(
    message: string,
    /** The connection failed or broke, so that asking again at once may help. */
    readonly broken: boolean,
  ) {
    super(message);
  }
}

export class ConsoleHttp {
  readonly url: string;
  readonly #headers: Record<string, string>;
  readonly #fetch: Fetch;

  /** `plainHttp`: the key may cross the network in clear; default: OPSCONSOLE_ALLOW_PLAIN_HTTP. */
  constructor(url: string, key: string, fetcher?: Fetch, plainHttp?: boolean) {
    this.url = checkedUrl(url, plainHttp ?? setting(ALLOW) === "true");
    this.#headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
    // Looked up at each call, because Next.js replaces the global function.
    this.#fetch = fetcher ?? ((...given) => fetch(...given));
  }

  /** Send a POST request. Throw `NoAnswer` unless the whole answer arrives in time. */
  async post(path: string, body: unknown, timeout: number): Promise<Answer> {
    const aborter = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new NoAnswer(`no answer within ${Math.round(timeout)} ms`, false));
        aborter.abort();
      }, timeout);
    });
    try {
      return await Promise.race([this.#ask(path, JSON.stringify(body), aborter.signal), late]);
    } catch (error) {
      throw error instanceof NoAnswer ? error : new NoAnswer(reasonOf(error), true);
    } finally {
      clearTimeout(timer);
    }
  }

  async #ask(path: string, body: string, signal: AbortSignal): Promise<Answer> {
    const response = await this.#fetch(`${this.url}/api/${path}`, {
      method: "POST",
      headers: this.#headers,
      body,
      signal,
      // A redirect would take the key elsewhere; a cache, that of Next.js included, would answer for the console.
      redirect: "manual",
      cache: "no-store",
    });
    const seconds = Number(response.headers.get("Retry-After") ?? NaN);
    return {
      status: response.status,
      ofConsole: response.headers.has("API-Version"),
      body: objectOf(await response.text()),
      retryAfter: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined,
    };
  }
}

export const TOO_LARGE = 413;

/** No answer that is final: an error of the server, too many requests, a key that is being replaced, or something before the console. */
export function repeatable({ status, ofConsole }: Answer): boolean {
  const redirected = status >= 300 && status < 400;
  return status >= 500 || redirected || [401, 403, 429].includes(status) || (!ofConsole && status !== TOO_LARGE);
}

const ALLOW = "OPSCONSOLE_ALLOW_PLAIN_HTTP";
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

function checkedUrl(url: string, plainHttp: boolean): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new ConfigurationError(`The console's address must be a URL such as https://ops.example.com, not '${url}'.`);
  }
  if (parsed.protocol !== "https:" && parsed.protocol !== "http:") {
    throw new ConfigurationError(`The console's address must begin with https:// or http://, not '${parsed.protocol}'.`);
  }
  if (parsed.protocol === "http:" && !plainHttp && !LOOPBACK.includes(parsed.hostname)) {
    throw new ConfigurationError(
      `The console's address must begin with https://: over http:// to another machine, everybody on the way can read the key. Where nobody is, set ${ALLOW}=true or the option plainHttp.`,
    );
  }
  return (parsed.origin + parsed.pathname).replace(/\/+$/, "");
}

function objectOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {};
  }
}

/** Return what failed, in one line. `fetch` hides it in the cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? error.cause : undefined;
  const code = (cause as { code?: unknown } | undefined)?.code;
  return [error.message, cause?.message || code].filter(Boolean).join(": ");
}
