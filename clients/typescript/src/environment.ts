// What the process's environment says. Some runtimes have no `process`.

declare const process: { env?: Record<string, string | undefined> } | undefined;

export function setting(name: string): string | undefined {
  const value = typeof process === "undefined" ? undefined : process?.env?.[name];
  return value === "" ? undefined : value;
}

/** The configuration can't work. The message says what to change. */
export class ConfigurationError extends Error {
  override name = "ConfigurationError";
}

/** Return a number of a given range, or throw a sentence that names it. */
export function within(name: string, value: number, least: number, most: number): number {
  if (!Number.isFinite(value) || value < least || value > most) {
    throw new ConfigurationError(`${name} must be a number from ${least} to ${most}, not ${String(value)}.`);
  }
  return value;
}
