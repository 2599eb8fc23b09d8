// Who the client is. No source reads what a client can choose by a header.

import { ConfigurationError, setting } from "../environment.js";
import { clientOf } from "./ip-address.js";

/** A request of pages/api, or of any server on Node's http module. */
export interface NodeRequest {
  headers: Record<string, string | string[] | undefined>;
  socket?: { remoteAddress?: string | undefined } | null | undefined;
}

export type AnyRequest = Request | NodeRequest;

/**
 * Where the client's address comes from.
 *
 * - `"socket"`: the peer of the connection. Only where clients connect without a proxy, and not in app routes or
 *   middleware, which don't see it.
 * - `{ trustedProxies: n }`: the n-th entry of X-Forwarded-For from the right, where n proxies of yours each add one.
 * - `{ platformHeader: name }`: a header that your platform overwrites in every request, such as x-vercel-forwarded-for.
 * - a function that returns the address.
 */
export type ClientSource =
  | "socket"
  | { trustedProxies: number }
  | { platformHeader: string }
  | ((request: any) => string | undefined);

const VARIABLE = "OPSCONSOLE_CLIENT_ADDRESS";
const FORWARDED = "x-forwarded-for";
const UNKNOWN = "unknown";

/** Return the client's address, or `unknown`, which all clients without a readable address share. */
export function clientAddress(request: AnyRequest, source: ClientSource | undefined): string {
  const chosen = source ?? configured();
  if (typeof chosen === "function") return clientOf(chosen(request)) ?? UNKNOWN;
  if (chosen === "socket") return clientOf(peer(request)) ?? UNKNOWN;
  if ("platformHeader" in chosen) return clientOf(header(request, chosen.platformHeader).at(-1)) ?? UNKNOWN;
  return forwarded(request, proxies(chosen.trustedProxies)) ?? UNKNOWN;
}

/** Read the environment: `socket`, `proxies:1` or `header:x-vercel-forwarded-for`. */
export function configured(): ClientSource {
  const text = setting(VARIABLE) ?? "socket";
  const [kind, value = ""] = text.split(":");
  if (text === "socket") return "socket";
  if (kind === "proxies" && /^\d+$/.test(value)) return { trustedProxies: proxies(Number(value)) };
  if (kind === "header" && /^[a-z0-9-]+$/i.test(value)) return { platformHeader: value };
  throw new ConfigurationError(`${VARIABLE} must be 'socket', 'proxies:1' or 'header:NAME', not '${text}'.`);
}

/** Tell whether a proxy seems to be in front of a service whose clients are told apart by the socket. */
export function seemsBehindProxy(request: AnyRequest, source: ClientSource | undefined): boolean {
  if ((source ?? configured()) !== "socket") return false;
  const last = clientOf(header(request, FORWARDED).at(-1));
  return last !== undefined && last !== clientOf(peer(request));
}

function proxies(number: number): number {
  if (Number.isInteger(number) && number >= 1 && number <= 20) return number;
  throw new ConfigurationError(`The number of trusted proxies must be from 1 to 20, not ${String(number)}.`);
}

function peer(request: AnyRequest): string | undefined {
  if (!isNodeRequest(request)) {
    throw new ConfigurationError(
      "App routes and middleware don't see the client's connection. Say where its address comes from: set the option " +
        `'client', or ${VARIABLE}=proxies:1 behind one proxy that adds to X-Forwarded-For.`,
    );
  }
  return request.socket?.remoteAddress;
}

/** Return the entry that the outermost trusted proxy wrote. An entry that is no address ends the search. */
function forwarded(request: AnyRequest, trusted: number): string | undefined {
  const entries = header(request, FORWARDED).slice(-trusted).reverse();
  let client = isNodeRequest(request) ? clientOf(request.socket?.remoteAddress ?? undefined) : undefined;
  for (const entry of entries) {
    const address = clientOf(entry);
    if (!address) break;
    client = address;
  }
  return client;
}

function header(request: AnyRequest, name: string): string[] {
  const value = isNodeRequest(request) ? request.headers[name.toLowerCase()] : request.headers.get(name);
  const lines = Array.isArray(value) ? value : [value ?? ""];
  return lines.join(",").split(",").map((entry) => entry.trim()).filter(Boolean);
}

export function isNodeRequest(request: AnyRequest): request is NodeRequest {
  return typeof (request.headers as { get?: unknown }).get !== "function";
}
