// The name under which the console counts a client.

import { ConfigurationError } from "../environment.js";

/** Return the caller's name for a client, as the console accepts it: one that is long or has odd characters is hashed. */
export function identityOf(name: unknown): string {
  if (typeof name !== "string" || name === "") {
    throw new ConfigurationError("keyGenerator must return a text that is not empty.");
  }
  return /^[\x21-\x7e]{1,150}$/.test(name) ? name : `hash:${hash(name)}`;
}

/** FNV-1a of 64 bits: it tells clients apart, and keeps no secret. */
function hash(text: string): string {
  let hashed = 0xcbf29ce484222325n;
  for (let place = 0; place < text.length; place += 1) {
    hashed = BigInt.asUintN(64, (hashed ^ BigInt(text.charCodeAt(place))) * 0x100000001b3n);
  }
  return hashed.toString(16).padStart(16, "0");
}
