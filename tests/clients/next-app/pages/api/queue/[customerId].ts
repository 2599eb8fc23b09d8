// The plan's route: only where the limiter is imported from has changed.
import type { NextApiRequest, NextApiResponse } from "next";
import { rateLimit, rateLimitPresets } from "@opsconsole/client";

const limiter = rateLimit(rateLimitPresets.standard);

export default async function handler(req: NextApiRequest, res: NextApiResponse) {
  // Apply rate limiting
  await new Promise((resolve) => limiter(req, res, resolve));

  // Continue with normal handler
  const { customerId } = req.query;
  console.log(`worked for ${customerId}`);
  res.status(200).json({ customerId });
}
