// A worker over the HTTP API of the operations console, and its rate limiter for Next.js.

export { ConfigurationError } from "./environment.js";
export type { AnyRequest, ClientSource, NodeRequest } from "./limiter/client-address.js";
export { Decision, type Problem } from "./limiter/decision.js";
export type { NodeResponse } from "./limiter/ended-response.js";
export { rateLimitPresets } from "./limiter/presets.js";
export { rateLimit, type RateLimiter, type RateLimitOptions } from "./limiter/rate-limit.js";
export { RequestRefused } from "./limiter/refused.js";
export { fromSqs, type Message, type Receive, type SqsLike } from "./worker/message.js";
export type { Progress } from "./worker/progress.js";
export { type Job, PermanentError, type Run, RunLost, WorkerStopped } from "./worker/run.js";
export { type Handler, type Queue, Worker, type WorkerOptions } from "./worker/worker.js";
