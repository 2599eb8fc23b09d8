import { type NextRequest, NextResponse } from "next/server";
import { rateLimit } from "@opsconsole/client";

const limiter = rateLimit({ policy: "strict", maxRequests: 10, client: { trustedProxies: 1 } });

export const config = { matcher: "/api/guarded" };

export async function middleware(request: NextRequest) {
  const decision = await limiter.check(request);
  if (!decision.allowed) return decision.response();
  const response = NextResponse.next();
  decision.setHeaders(response.headers);
  return response;
}
