// What the callback of a limiter is called with, so that a handler that waits for it stops.

const STOPS = "The request was refused with 429, which stops its handler. Nothing is wrong.";

/** The request was refused, and its 429 was sent. `await` throws this in a handler that waits for the limiter. */
export class RequestRefused extends Error {
  override name = "RequestRefused";
  readonly statusCode = 429;

  constructor() {
    super(STOPS);
    // Next.js prints what a handler throws. A flood of refused requests should not print stacks.
    hide(this, "stack", `RequestRefused: ${STOPS}`);
    for (const own of ["name", "statusCode"] as const) hide(this, own, this[own]);
  }
}

/**
 * Return the error in a form in which both idioms of a callback throw it: `new Promise((resolve) => limiter(req, res, resolve))`,
 * whose promise follows what it is resolved with, and those that reject if they are called with an `Error`.
 */
export function stopping<E extends Error>(error: E): E {
  const followed = (_resolve: unknown, reject: (reason: Error) => void): void => {
    // Otherwise the promise would follow it again.
    delete (error as { then?: unknown }).then;
    reject(error);
  };
  Object.defineProperty(error, "then", { value: followed, enumerable: false, configurable: true });
  return error;
}

function hide(error: Error, name: string, value: unknown): void {
  Object.defineProperty(error, name, { value, enumerable: false, configurable: true, writable: true });
}
