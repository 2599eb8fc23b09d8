// What all limiters of a process share. Bundlers copy this package into several files, so it hangs on the global object.

import { Breaker } from "./breaker.js";
import { KnownClients } from "./known-clients.js";
import type { Shared } from "./limiter.js";
import { LocalWindows, MOST_CLIENTS } from "./local-windows.js";

const PLACE = Symbol.for("@opsconsole/client 1");

interface Place {
  breakers: Map<string, Breaker>;
  policies: Map<string, Shared>;
}

export function now(): number {
  return performance.now();
}

/** Return the state of a policy at a console. One console has one breaker, whatever the policy. */
export function sharedBy(url: string, policy: string): Shared {
  const holder = globalThis as { [PLACE]?: Place };
  const place = (holder[PLACE] ??= { breakers: new Map(), policies: new Map() });
  const name = `${url} ${policy}`;
  let shared = place.policies.get(name);
  if (!shared) {
    let breaker = place.breakers.get(url);
    if (!breaker) place.breakers.set(url, (breaker = new Breaker(now)));
    shared = {
      breaker,
      known: new KnownClients(MOST_CLIENTS),
      local: new LocalWindows(now),
      asking: new Map(),
      complainedAt: -Infinity,
    };
    place.policies.set(name, shared);
  }
  return shared;
}
