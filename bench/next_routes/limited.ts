// The package, which asks the console about each client. Each request here is of another client, so that none is remembered.
import type { NextApiRequest, NextApiResponse } from "next";
import { rateLimit, rateLimitPresets } from "@opsconsole/client";

const limiter = rateLimit({ ...rateLimitPresets.standard, keyGenerator: (request) => String((request as NextApiRequest).query.id) });

export default async function handler(req: NextApiRequest, res: NextApiResponse) {
  if (!(await limiter(req, res))) return;
  res.status(200).json({ customerId: req.query.id });
}
