// The limiter as Next.js calls it, on real servers of Node.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, test } from "node:test";

import { rateLimit, rateLimitPresets, RequestRefused } from "../dist/index.js";

const require = createRequire(import.meta.url);
const servers = [];
after(() => servers.forEach((each) => each.close()));

async function serve(handler) {
  const server = createServer(handler).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  return `http://127.0.0.1:${server.address().port}`;
}

let number = 0;
/** A limiter that allows two requests, decided by this process: nothing listens at the console's address. */
const limiterOf = (options = {}) =>
  rateLimit({ policy: `test-${(number += 1)}`, maxRequests: 2, url: "http://127.0.0.1:1", key: "ock_x", log: () => {}, ...options });

/** What Next.js does around a handler of pages/api. */
const asNext = (handler, thrown = []) => async (request, response) => {
  response.status = (status) => ((response.statusCode = status), response);
  response.json = (body) => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(body));
  };
  try {
    await handler(request, response);
  } catch (error) {
    thrown.push(error);
    response.statusCode = 500;
    response.end("Internal Server Error");
  }
};

const plans = (limiter) => (request, response) => new Promise((resolve) => limiter(request, response, resolve));
const idiom = (limiter) => (request, response) =>
  new Promise((resolve, reject) => limiter(request, response, (result) => (result instanceof Error ? reject(result) : resolve(result))));

for (const [name, wait] of [["the plan's", plans], ["the one that rejects errors", idiom]]) {
  test(`a handler that waits by ${name} promise stops after a refusal`, async () => {
    const limiter = limiterOf();
    const [thrown, ran] = [[], []];
    const address = await serve(
      asNext(async (request, response) => {
        await wait(limiter)(request, response);
        ran.push(1);
        response.status(200).json({ ok: true });
      }, thrown),
    );
    const statuses = [];
    for (let left = 4; left > 0; left -= 1) {
      const answer = await fetch(address);
      statuses.push(answer.status);
      const body = await answer.json();
      assert.match(answer.headers.get("RateLimit-Policy"), /^"test-\d+";q=2;w=60$/);
      if (answer.status === 429) {
        assert.equal(body.error, "Too many requests");
        assert.equal(answer.headers.get("Content-Type"), "application/problem+json");
        assert.equal(answer.headers.get("Retry-After"), String(body.retryAfter));
        assert.equal(answer.headers.get("Cache-Control"), "no-store");
      }
    }
    assert.deepEqual(statuses, [200, 200, 429, 429]);
    assert.equal(ran.length, 2);
    assert.ok(thrown.length === 2 && thrown.every((each) => each instanceof RequestRefused));
    assert.ok(!thrown[0].stack.includes("\n") && Object.keys(thrown[0]).length === 0, "one line in the log");
  });
}

test("a handler that runs on after a refusal writes nothing, and nothing fails", async () => {
  const limiter = limiterOf({ maxRequests: 1 });
  const unhandled = [];
  process.on("unhandledRejection", (error) => unhandled.push(error));
  const seen = [];
  const address = await serve(async (request, response) => {
    response.on("error", (error) => unhandled.push(error));
    await limiter(request, response);
    response.statusCode = 201;
    response.setHeader("X-Late", "1");
    response.writeHead(202, { "X-Late": "2" });
    response.write("late");
    await new Promise((resolve) => response.end("late", resolve));
    seen.push(response.statusCode);
  });
  assert.equal((await fetch(address)).status, 202);
  const refused = await fetch(address);
  assert.deepEqual([refused.status, refused.headers.get("X-Late")], [429, null]);
  assert.equal((await refused.json()).status, 429);
  assert.deepEqual(seen, [202, 429]);
  assert.deepEqual(unhandled, []);
});

test("a continuation without parameters runs only for allowed requests", async () => {
  const limiter = limiterOf({ maxRequests: 1 });
  let ran = 0;
  const address = await serve(async (request, response) => {
    await limiter(request, response, async () => {
      ran += 1;
      response.end("done");
    });
  });
  assert.deepEqual([(await fetch(address)).status, (await fetch(address)).status, ran], [200, 429, 1]);
});

test("app routes and middleware", async () => {
  const limiter = limiterOf({ client: { trustedProxies: 1 } });
  const from = (address) => new Request("http://localhost/", { headers: { "x-forwarded-for": `198.51.100.${Math.random() * 200 | 0}, ${address}` } });
  assert.equal(await limiter(from("192.0.2.1")), undefined);
  const decision = await limiter.check(from("192.0.2.1"));
  const headers = new Headers();
  decision.setHeaders(headers);
  assert.deepEqual([decision.allowed, headers.get("RateLimit")?.includes(";r=0;")], [true, true]);
  const refused = await limiter(from("192.0.2.1"));
  assert.equal(refused.status, 429);
  assert.equal((await refused.json()).title, "Too many requests");
  assert.equal(await limiter(from("192.0.2.2")), undefined, "another client");
  await assert.rejects(limiterOf()(from("192.0.2.1")), /OPSCONSOLE_CLIENT_ADDRESS/);
});

test("wrapped handlers run only for allowed requests, and their responses have the headers", async () => {
  const limiter = limiterOf({ client: () => "192.0.2.1" });
  const GET = limiter.wrap(async () => Response.redirect("http://localhost/there"));
  const first = await GET(new Request("http://localhost/"));
  assert.deepEqual([first.status, first.headers.has("RateLimit")], [302, true]);
  const handler = limiter.wrap((request, response) => response.end("ok"));
  const address = await serve(handler);
  assert.deepEqual([(await fetch(address)).status, (await fetch(address)).status], [200, 429]);
  assert.equal((await GET(new Request("http://localhost/"))).status, 429);
});

test("both module formats share their counts, and importing needs no environment", async () => {
  const cjs = require("../cjs/index.js");
  assert.notEqual(cjs.rateLimit, rateLimit);
  assert.deepEqual(cjs.rateLimitPresets, rateLimitPresets);
  const options = { policy: "both", maxRequests: 1, url: "http://127.0.0.1:1", key: "k", client: () => "192.0.2.1", log: () => {} };
  const request = new Request("http://localhost/");
  assert.equal(await rateLimit(options)(request), undefined);
  assert.equal((await cjs.rateLimit(options)(request)).status, 429);
});

test("what can't work is refused with a sentence", async () => {
  assert.throws(() => rateLimit({ windowMs: 60_000, maxRequests: 20 }), /Name a policy/);
  const request = new Request("http://localhost/");
  for (const wrong of [{ url: "ops.example.com" }, { url: "ftp://ops" }, { budgetMs: 0 }, { maxRequests: NaN }, { instances: 0 }]) {
    await assert.rejects(limiterOf({ client: () => "192.0.2.1", ...wrong })(request), { name: "ConfigurationError" });
  }
  const address = await serve(asNext(async (request, response) => {
    await plans(limiterOf({ budgetMs: 0 }))(request, response);
    response.end("ran");
  }));
  assert.equal((await fetch(address)).status, 500);
});

test("without a console's address it counts here and says so", async () => {
  const logged = [];
  const limiter = rateLimit({ ...rateLimitPresets.strict, client: () => "192.0.2.1", log: (message) => logged.push(message) });
  const request = new Request("http://localhost/");
  const answers = [];
  for (let left = 12; left > 0; left -= 1) answers.push((await limiter(request))?.status);
  assert.equal(answers.filter((status) => status === 429).length, 2);
  assert.equal(logged.length, 1);
});
