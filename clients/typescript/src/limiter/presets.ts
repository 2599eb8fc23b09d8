// The presets: names of the console's policies, and what counts until the console has answered once.

export const rateLimitPresets = {
  strict: { policy: "strict", windowMs: 60_000, maxRequests: 10 },
  standard: { policy: "standard", windowMs: 60_000, maxRequests: 100 },
  relaxed: { policy: "relaxed", windowMs: 60_000, maxRequests: 1_000 },
  /** Counts by address, unless you give `keyGenerator` a key that you have checked: anybody can send any X-API-Key. */
  apiKey: { policy: "api-key", windowMs: 3_600_000, maxRequests: 10_000 },
} as const;
