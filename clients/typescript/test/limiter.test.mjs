// The decision: caches, breaker, budget and local counts, on a clock of the test's own.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ConsoleHttp } from "../dist/console-http.js";
import { Breaker } from "../dist/limiter/breaker.js";
import { KnownClients } from "../dist/limiter/known-clients.js";
import { Limiter } from "../dist/limiter/limiter.js";
import { LocalWindows } from "../dist/limiter/local-windows.js";

const LIMIT = 10;

/** A console that counts exactly, or does what `behave` says; and a limiter that asks it. */
function stage({ limit = LIMIT, instances = 1, budget = 50, most = 1000, requests = 5000 } = {}) {
  const stage = { now: 0, asked: [], used: new Map(), logged: [], behave: undefined };
  const answer = (status, body, headers = {}) => new Response(JSON.stringify(body), { status, headers });
  stage.decide = ({ identity, cost }) => {
    const used = stage.used.get(identity) ?? 0;
    const allowed = used + cost <= limit;
    if (allowed) stage.used.set(identity, used + cost);
    const remaining = Math.max(0, limit - used - (allowed ? cost : 0));
    return answer(200, {
      allowed, policy: "standard", limit, window: 60, remaining, reset: 60, retry_after: allowed ? 0 : 30,
      headers: { RateLimit: `"standard";r=${remaining};t=60`, ...(allowed ? {} : { "Retry-After": "30" }) },
    });
  };
  stage.answer = answer;
  const fetcher = async (url, init) => {
    const asked = JSON.parse(init.body);
    stage.asked.push(asked);
    return (stage.behave ?? stage.decide)(asked, init);
  };
  const clock = () => stage.now;
  stage.shared = {
    breaker: new Breaker(clock), known: new KnownClients(most), local: new LocalWindows(clock, most, requests),
    asking: new Map(), complainedAt: -Infinity,
  };
  const http = new ConsoleHttp("https://console.invalid/", "ock_x", fetcher);
  const log = (message) => stage.logged.push(message);
  stage.limiter = new Limiter(http, stage.shared, { policy: "standard", limit, window: 60, budget, instances, clock, log });
  return stage;
}

const hang = (_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
const away = () => Promise.reject(new TypeError("fetch failed"));

async function passed(stage, count, client = "a") {
  let allowed = 0;
  for (let left = count; left > 0; left -= 1) if ((await stage.limiter.decide(client)).allowed) allowed += 1;
  return allowed;
}

test("exactly the limit passes, one after the other and side by side", async () => {
  const one = stage();
  assert.equal(await passed(one, 25), LIMIT);
  const all = await Promise.all(Array.from({ length: 25 }, () => one.limiter.decide("b")));
  assert.equal(all.filter((each) => each.allowed).length, LIMIT);
  const refused = all.find((each) => !each.allowed);
  assert.equal(refused.body.message, "Rate limit exceeded. Max 10 requests per 60s");
  assert.equal(refused.headers.RateLimit, '"standard";r=0;t=60');
});

test("a burst asks few questions at once, and lets nobody exceed the limit", async () => {
  const one = stage({ limit: 100 });
  const decided = await Promise.all(Array.from({ length: 150 }, () => one.limiter.decide("a")));
  assert.equal(decided.filter((each) => each.allowed).length, 100);
  assert.equal(one.asked.length, 64);
  assert.equal((await one.limiter.decide("a")).allowed, false);
  // What was counted here was told with the next question: the console counts the whole limit now.
  assert.ok(one.used.get("a") + one.shared.local.admitted("a").length <= 100);

  const many = await Promise.all(Array.from({ length: 1000 }, (_, number) => one.limiter.decide(`client ${number}`)));
  assert.ok(many.every((each) => each.allowed));
  assert.equal(one.asked.length, 64 + 1 + 64);
  assert.equal((await one.limiter.decide("client 999")).decidedBy, "console");
  assert.deepEqual([one.asked.at(-1).cost, one.shared.asking.size], [2, 0]);

  const some = stage({ limit: 100 });
  const clients = Array.from({ length: 400 }, (_, number) => `client ${number % 20}`);
  const passes = await Promise.all(clients.map((client) => some.limiter.decide(client)));
  assert.ok(passes.every((each) => each.allowed));
  assert.equal(some.asked.length, 64);
});

test("a client that was refused asks at most once a second, and others as before", async () => {
  const one = stage();
  await passed(one, LIMIT + 1);
  const before = one.asked.length;
  for (let second = 0; second < 5; second += 1) {
    const all = await Promise.all(Array.from({ length: 20 }, () => one.limiter.decide("a")));
    assert.ok(all.every((each) => !each.allowed && Number(each.headers["Retry-After"]) >= 1));
    one.now += 1000;
  }
  assert.ok(one.asked.length - before <= 5, `${one.asked.length - before} questions in five seconds`);
  assert.equal((await one.limiter.decide("b")).decidedBy, "console");
});

test("Retry-After of a remembered refusal counts down, and a freed client passes within a second", async () => {
  const one = stage();
  await passed(one, LIMIT + 1);
  one.now += 999;
  const told = await one.limiter.decide("a");
  assert.deepEqual([told.decidedBy, told.headers["Retry-After"], told.body.retryAfter], ["memory", "30", 30]);
  one.used.clear();
  one.now += 1;
  assert.ok((await one.limiter.decide("a")).allowed);
});

test("while the console hangs, one request per second waits, and nobody gets more than the limit", async () => {
  const one = stage({ budget: 5 });
  one.behave = hang;
  assert.equal((await one.limiter.decide("z")).decidedBy, "process");
  let waited = one.asked.length;
  assert.equal(waited, 1);
  let allowed = 0;
  for (let second = 0; second < 5; second += 1) {
    one.now += 1000;
    const all = await Promise.all(Array.from({ length: 30 }, () => one.limiter.decide("a")));
    allowed += all.filter((each) => each.allowed).length;
    assert.ok(one.asked.length - waited <= 1, "one probe");
    waited = one.asked.length;
  }
  assert.equal(allowed, LIMIT);
  assert.equal(one.logged.length, 1, "an outage is told once");
  one.behave = undefined;
  one.now += 1000;
  assert.equal((await one.limiter.decide("b")).decidedBy, "console");
  assert.match(one.logged[1], /answers again/);
});

test("what passed without the console is told to it, and counts", async () => {
  const one = stage();
  assert.equal(await passed(one, 4), 4);
  one.behave = away;
  assert.equal(await passed(one, 3), 3);
  one.behave = undefined;
  one.now += 1000;
  assert.equal(await passed(one, 20), LIMIT - 7);
  assert.equal(one.used.get("a"), LIMIT);
  assert.equal(one.shared.local.requests, 0);
});

test("what remained at the last answer bounds what passes without the console, shared among instances", async () => {
  const one = stage();
  await passed(one, 7);
  one.behave = away;
  assert.equal(await passed(one, 20), 3);
  const two = stage({ instances: 2 });
  two.behave = away;
  assert.equal(await passed(two, 20), LIMIT / 2);
  two.now += 60_001;
  assert.equal(await passed(two, 20), LIMIT / 2, "the window moves on");
});

test("a kept connection that was closed is no outage", async () => {
  const one = stage();
  let broken = true;
  one.behave = (asked) => {
    if (!broken) return one.decide(asked);
    broken = false;
    return away();
  };
  assert.equal((await one.limiter.decide("a")).decidedBy, "console");
  assert.deepEqual(one.logged, []);
});

test("a key without quota is no refusal of the client, and is not asked again before its time", async () => {
  const one = stage();
  await passed(one, 2);
  const client = { policy: "standard", limit: LIMIT, window: 60, remaining: 5 };
  one.behave = () => one.answer(503, { reason: "check_quota", client }, { "Retry-After": "30" });
  assert.equal(await passed(one, 20), 5);
  assert.equal(one.asked.length, 3);
  one.behave = undefined;
  one.now += 30_000;
  assert.equal((await one.limiter.decide("b")).decidedBy, "console");
});

test("a wrong key or a server error is an outage; a client that the console can't name is not", async () => {
  for (const status of [401, 403, 404, 429, 500, 502, 302]) {
    const one = stage();
    one.behave = () => one.answer(status, { detail: "No." });
    assert.equal(await passed(one, 20), LIMIT, String(status));
    assert.equal(one.asked.length, 1, String(status));
    assert.match(one.logged[0], new RegExp(`status ${status}: No\\.`));
  }
  const one = stage();
  one.behave = (asked) => (asked.identity === "odd" ? one.answer(422, { detail: "identity" }) : one.decide(asked));
  assert.equal((await one.limiter.decide("odd")).decidedBy, "process");
  assert.equal((await one.limiter.decide("a")).decidedBy, "console");
});

test("answers that are no JSON, or that are cut, are an outage", async () => {
  for (const text of ["", "<html>", "[]", "null", '{"allowed": "yes"}', '{"allowed": tr']) {
    const one = stage();
    one.behave = () => new Response(text, { status: 200 });
    assert.equal((await one.limiter.decide("a")).decidedBy, "process", text);
  }
});

test("a flood of addresses takes bounded memory and lets nobody exceed the limit", async () => {
  const one = stage({ most: 50, requests: 200 });
  one.behave = away;
  let allowed = 0;
  for (let number = 0; number < 500; number += 1) allowed += await passed(one, 3, `client-${number}`);
  assert.ok(one.shared.local.clients <= 51);
  assert.ok(one.shared.local.requests <= 200);
  assert.ok(allowed <= 50 * 3 + LIMIT, "those without a place share one window");
  one.behave = undefined;
  one.now += 61_000;
  for (let number = 0; number < 500; number += 1) await one.limiter.decide(`other-${number}`);
  assert.equal(one.shared.known.size, 50);
  assert.equal(one.shared.asking.size, 0);
});
