// The limiter for Next.js: pages/api, app routes and middleware.

import { ConsoleHttp, type Fetch } from "../console-http.js";
import { ConfigurationError, setting, within } from "../environment.js";
import { type AnyRequest, type ClientSource, clientAddress, isNodeRequest, type NodeRequest, seemsBehindProxy } from "./client-address.js";
import { Decision } from "./decision.js";
import { type NodeResponse, refuse } from "./ended-response.js";
import { identityOf } from "./identity.js";
import { Limiter } from "./limiter.js";
import { rateLimitPresets } from "./presets.js";
import { RequestRefused, stopping } from "./refused.js";
import { now, sharedBy } from "./shared.js";

export interface RateLimitOptions {
  /** A policy of the console. It says how many requests are allowed per window. */
  policy?: string;
  /** What counts until the console has answered once. */
  windowMs?: number;
  maxRequests?: number;
  /** Who is counted, if not the address. Return only what you have checked: a client can send any header. */
  keyGenerator?: (request: any) => string;
  /** Where the client's address comes from; default: OPSCONSOLE_CLIENT_ADDRESS, else the socket. */
  client?: ClientSource;
  /** How long a request waits for the console, in milliseconds. Beyond that, this process counts by itself. */
  budgetMs?: number;
  /** How many processes share the limit while the console does not decide. */
  instances?: number;
  /** The console's address and an API key with the scope `limits:check`; default: OPSCONSOLE_URL and OPSCONSOLE_KEY. */
  url?: string;
  key?: string;
  fetch?: Fetch;
  /** Allow an address that begins with http:// on another machine: the key crosses the network in clear. Default: OPSCONSOLE_ALLOW_PLAIN_HTTP. */
  plainHttp?: boolean;
  log?: (message: string) => void;
}

export interface RateLimiter {
  /** For app routes: return the 429 to send, or undefined if the request is allowed. */
  (request: Request): Promise<Response | undefined>;
  /**
   * For pages/api: return true if the request is allowed. Otherwise the 429 was sent.
   *
   * `next` is called without an argument if the request is allowed, and with an error if it was refused; not at all if
   * it takes no argument and the request was refused.
   */
  (request: NodeRequest, response: NodeResponse, next?: (refused?: any) => unknown): Promise<boolean>;
  /** Count the request and return the decision; nothing is sent. */
  check(request: AnyRequest): Promise<Decision>;
  /** Return a handler, of pages/api or of an app route, that runs only for allowed requests and whose responses have the headers. */
  wrap<Handler extends (...given: any[]) => unknown>(handler: Handler): Handler;
}

/** Return a limiter for a policy of the console. */
export function rateLimit(options: RateLimitOptions = rateLimitPresets.standard): RateLimiter {
  if (!options.policy) {
    throw new ConfigurationError("Name a policy of the console: rateLimit({ policy: 'standard' }), or one of rateLimitPresets.");
  }
  let decider: Decider | undefined;
  const check = async (request: AnyRequest): Promise<Decision> => {
    // Next.js imports routes while it builds, where the environment is another one.
    decider ??= new Decider(options, options.policy ?? "");
    return decider.decide(request);
  };

  async function limiter(request: AnyRequest, response?: NodeResponse, next?: (refused?: any) => unknown): Promise<unknown> {
    if (isNodeRequest(request)) return ofPages(check, request, response, next);
    const decision = await check(request);
    return decision.allowed ? undefined : decision.response();
  }

  return Object.assign(limiter as { (request: Request): Promise<Response | undefined> } & RateLimiter, {
    check,
    wrap: <Handler extends (...given: any[]) => unknown>(handler: Handler): Handler => wrapped(check, handler),
  });
}

class Decider {
  readonly #limiter: Limiter;
  readonly #log: (message: string) => void;
  #warned = false;

  constructor(
    private readonly options: RateLimitOptions,
    policy: string,
  ) {
    this.#log = options.log ?? ((message) => console.warn(message));
    const url = options.url ?? setting("OPSCONSOLE_URL");
    const key = options.key ?? setting("OPSCONSOLE_KEY");
    const http = url && key ? new ConsoleHttp(url, key, options.fetch, options.plainHttp) : undefined;
    if (!http) {
      this.#log("@opsconsole/client: OPSCONSOLE_URL and OPSCONSOLE_KEY are not both set, so this process counts requests by itself.");
    }
    this.#limiter = new Limiter(http, sharedBy(http?.url ?? "", policy), {
      policy,
      limit: Math.floor(within("maxRequests", options.maxRequests ?? 100, 1, 1e9)),
      window: Math.max(1, Math.round(within("windowMs", options.windowMs ?? 60_000, 1, 1e10) / 1000)),
      budget: within("budgetMs", options.budgetMs ?? Number(setting("OPSCONSOLE_BUDGET_MS") ?? 50), 1, 60_000),
      instances: within("instances", options.instances ?? Number(setting("OPSCONSOLE_INSTANCES") ?? 1), 1, 100_000),
      clock: now,
      log: this.#log,
    });
  }

  async decide(request: AnyRequest): Promise<Decision> {
    return this.#limiter.decide(this.#identity(request));
  }

  #identity(request: AnyRequest): string {
    if (this.options.keyGenerator) return identityOf(this.options.keyGenerator(request));
    const address = clientAddress(request, this.options.client);
    if (!this.#warned && seemsBehindProxy(request, this.options.client)) {
      this.#warned = true;
      this.#log(
        "@opsconsole/client: requests come with X-Forwarded-For, and clients are told apart by the connection. Behind a " +
          "proxy, all of them are one client: set OPSCONSOLE_CLIENT_ADDRESS=proxies:1. A client can send this header as well.",
      );
    }
    return `address:${address}`;
  }
}

type Check = (request: AnyRequest) => Promise<Decision>;

async function ofPages(
  check: Check,
  request: NodeRequest,
  response: NodeResponse | undefined,
  next: ((refused?: any) => unknown) | undefined,
): Promise<boolean> {
  let decision: Decision;
  try {
    if (!response) throw new ConfigurationError("Call the limiter of pages/api with the request and the response.");
    decision = await check(request);
  } catch (error) {
    // The configuration is wrong, or a function of the caller's failed.
    if (!next || next.length === 0) throw error;
    next(stopping(error instanceof Error ? error : new Error(String(error))));
    return false;
  }
  if (decision.allowed) {
    for (const [name, value] of Object.entries(decision.headers)) response.setHeader(name, value);
    await next?.();
    return true;
  }
  refuse(response, decision);
  // A function without parameters is the rest of the work. One with a parameter can be told, and may be waited for.
  if (next && next.length > 0) next(stopping(new RequestRefused()));
  return false;
}

function wrapped<Handler extends (...given: any[]) => unknown>(check: Check, handler: Handler): Handler {
  const limited = async (request: AnyRequest, ...rest: unknown[]): Promise<unknown> => {
    if (isNodeRequest(request)) {
      const allowed = await ofPages(check, request, rest[0] as NodeResponse | undefined, undefined);
      return allowed ? handler(request, ...rest) : undefined;
    }
    const decision = await check(request);
    if (!decision.allowed) return decision.response();
    const answer = await handler(request, ...rest);
    return answer instanceof Response ? withHeaders(answer, decision) : answer;
  };
  return limited as unknown as Handler;
}

function withHeaders(response: Response, decision: Decision): Response {
  try {
    decision.setHeaders(response.headers);
    return response;
  } catch {
    // Redirects and what `fetch` returned have headers that nobody may change.
    const copy = new Response(response.body, response);
    decision.setHeaders(copy.headers);
    return copy;
  }
}
