import { rateLimit, rateLimitPresets } from "@opsconsole/client";

const limiter = rateLimit({ ...rateLimitPresets.strict, client: { trustedProxies: 1 } });

export const GET = limiter.wrap(async (request: Request) => Response.json({ asked: new URL(request.url).searchParams.get("q") }));
