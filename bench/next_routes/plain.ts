// Without a limiter: what Next.js itself costs.
import type { NextApiRequest, NextApiResponse } from "next";

export default function handler(req: NextApiRequest, res: NextApiResponse) {
  res.status(200).json({ customerId: req.query.id });
}
