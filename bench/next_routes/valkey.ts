// A fixed window of one's own, asked of Valkey: no policies, no local bound, no record of who was refused.
import type { NextApiRequest, NextApiResponse } from "next";
import Redis from "ioredis";

const store = new Redis(String(process.env.BENCH_VALKEY));

export default async function handler(req: NextApiRequest, res: NextApiResponse) {
  const key = `bench:${req.query.id}`;
  const [[, hits]] = (await store.multi().incr(key).expire(key, 60, "NX").exec()) as [[null, number], unknown];
  if (hits > 100) return res.status(429).json({ error: "Too many requests" });
  res.status(200).json({ customerId: req.query.id });
}
