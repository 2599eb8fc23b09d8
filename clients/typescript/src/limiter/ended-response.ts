// The response of pages/api to a refused request, which nothing that comes later can change.

import { type Decision, PROBLEM } from "./decision.js";

/** A response of pages/api, or of any server on Node's http module. */
export interface NodeResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  end(text?: string): unknown;
}

/** Send the 429, and let everything that is written to the response afterwards have no effect. */
export function refuse(response: NodeResponse, decision: Decision): void {
  response.statusCode = 429;
  for (const [name, value] of Object.entries(decision.headers)) response.setHeader(name, value);
  response.setHeader("Content-Type", PROBLEM);
  response.end(JSON.stringify(decision.body));
  seal(response);
}

/** A handler that runs on, and Next.js when a handler throws, would write a second response: an error, or a status of 500. */
function seal(response: NodeResponse): void {
  const sealed: Record<string, PropertyDescriptor> = {};
  const ignore = (...given: unknown[]): NodeResponse => {
    const callback = given.at(-1);
    if (typeof callback === "function") queueMicrotask(() => (callback as () => void)());
    return response;
  };
  for (const name of ["setHeader", "appendHeader", "removeHeader", "setHeaders", "writeHead", "end"]) {
    sealed[name] = { value: ignore, writable: true, configurable: true };
  }
  const write = (...given: unknown[]): boolean => (ignore(...given), true);
  sealed["write"] = { value: write, writable: true, configurable: true };
  sealed["flushHeaders"] = { value: () => undefined, writable: true, configurable: true };
  for (const [name, value] of [["statusCode", 429], ["statusMessage", "Too Many Requests"]] as const) {
    sealed[name] = { get: () => value, set: () => undefined, configurable: true };
  }
  Object.defineProperties(response, sealed);
}
