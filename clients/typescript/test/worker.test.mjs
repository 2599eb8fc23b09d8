// The worker's protocol, against a console that answers as the test says.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import { fromSqs, PermanentError, rateLimit, Worker } from "../dist/index.js";
import { Backoff } from "../dist/worker/backoff.js";
import { namedBy } from "../dist/worker/message.js";

const JOB = { job_id: "7", run_epoch: 3, customer_id: "c", package_size: 5, priority: null, payload: { kind: "a" }, attempts: 0, beat_every_seconds: 0.02 };

/** Run one message through a worker. `answers` maps the last part of a path to functions that return [status, body] or throw. */
async function play(handler, answers = {}, options = {}) {
  const asked = [];
  const message = { body: '{"job_id": "7", "run_epoch": 3}', receiveCount: 1, removed: 0, hidden: [] };
  message.remove = async () => (message.removed += 1);
  message.hide = async (seconds) => message.hidden.push(seconds);
  const fetcher = async (url, init) => {
    const [what, body] = [new URL(url).pathname.split("/").at(-1), JSON.parse(init.body)];
    asked.push([what, body, url.replace("https://console.invalid/api/", "")]);
    const [status, told, headers] = await (answers[what] ?? usual[what])(body, asked.filter(([each]) => each === what).length);
    return new Response(status === 204 ? null : JSON.stringify(told), { status, headers: headers ?? { "API-Version": "1.0" } });
  };
  const usual = {
    claim: () => [200, JOB],
    beat: () => [200, { verdict: "continue" }],
    complete: () => [200, { outcome: "completed" }],
    fail: () => [200, { outcome: "retry" }],
    leave: () => [204],
  };
  let worker;
  let given = 0;
  const receive = async () => {
    given += 1;
    if (given === 1) return { ...message, ...options.message };
    worker.stop();
    return undefined;
  };
  const queues = { default: { receive, handler, ...options.queue } };
  worker = new Worker({ queues, url: "https://console.invalid", key: "ock_x", fetch: fetcher, log: () => {}, signals: false, graceMs: 50, ...options.worker });
  await worker.run();
  const of = (what) => asked.filter(([each]) => each === what).map(([, body]) => body);
  return { asked, message, of, worker };
}

const broken = () => {
  throw new TypeError("fetch failed");
};

test("the first and the last progress are sent, whatever lies between, and the last goes before the result", async () => {
  const played = await play(
    async (run) => {
      run.progress(0, "begun");
      await new Promise((resolve) => setTimeout(resolve, 50));
      for (let step = 1; step <= 10_000; step += 1) run.progress(step / 100, `step ${step}`);
    },
    { percent: () => [200, { verdict: "continue" }] },
  );
  assert.deepEqual(
    played.of("percent").map(({ percent, text, run_epoch }) => [percent, text, run_epoch]),
    [[0, "begun", 3], [100, "step 10000", 3]],
  );
  const order = played.asked.map(([what]) => what);
  assert.ok(order.lastIndexOf("percent") < order.indexOf("complete"));
});

test("progress is checked, cut and never rounded up; the last progress of an earlier run is received", async () => {
  const last = { percent: 40.5, text: "12 of 30", run_epoch: 2, at: "2026-11-27T12:00:00Z" };
  const face = String.fromCodePoint(0x1f600);
  const told = [];
  const played = await play(
    (run) => {
      told.push(run.job.lastProgress);
      for (const wrong of [-1, 100.1, NaN, "40", true, undefined]) assert.throws(() => run.progress(wrong), /Percent must be a number from 0 to 100, or null/);
      assert.throws(() => run.progress(null), /needs a text/);
      assert.throws(() => run.progress(1, 7), /must be a string/);
      run.progress(99.99, (String.fromCharCode(0) + face).repeat(600));
    },
    { percent: () => [200, { verdict: "continue" }], claim: () => [200, { ...JOB, last_progress: last }] },
  );
  assert.deepEqual(told, [{ percent: 40.5, text: "12 of 30", epoch: 2, at: "2026-11-27T12:00:00Z" }]);
  const [said] = played.of("percent");
  assert.deepEqual([said.percent, said.text], [99.9, face.repeat(500)]);
  assert.equal(played.of("complete").length, 1);
});

for (const [what, percent, lines] of [
  ["does not answer", broken, 0],
  ["is overloaded", () => [503, {}], 0],
  ["knows no progress", () => [404, { detail: "There is nothing here." }], 1],
]) {
  test(`a console that ${what} delays no result`, async () => {
    const log = [];
    const played = await play(
      async (run) => {
        run.progress(10);
        await new Promise((resolve) => setTimeout(resolve, 30));
        run.progress(20);
      },
      { percent },
      { worker: { log: (text) => log.push(text) } },
    );
    assert.equal(played.of("complete").length, 1);
    assert.equal(log.filter((line) => line.endsWith("its progress can't be kept: There is nothing here.")).length, lines);
  });
}

test("a console that hangs delays a result for two seconds at most, and the last progress still goes before it", async () => {
  const hung = [];
  const began = performance.now();
  const played = await play(
    async (run) => {
      run.progress(10);
      await new Promise((resolve) => setTimeout(resolve, 30));
      run.progress(20);
    },
    { percent: (_, times) => (times === 1 ? new Promise((resolve) => hung.push(resolve)) : [200, { verdict: "continue" }]) },
    { worker: { timeoutMs: 60_000 } },
  );
  assert.ok(performance.now() - began < 20_000);
  assert.deepEqual([hung.length, played.of("complete").length], [1, 1]);
  const away = await play(
    (run) => run.progress(30),
    { percent: (_, times) => (times === 1 ? broken() : [200, {}]), complete: (_, times) => (times === 1 ? broken() : [200, {}]) },
  );
  assert.deepEqual(away.asked.map(([what]) => what).filter((what) => what !== "beat" && what !== "leave").slice(-4), ["percent", "complete", "percent", "complete"]);
});

test("ids that no path can hold stand in the query, and numbers keep their digits", async () => {
  for (const [id, path] of [
    ["a/requeue", "jobs/-/{}?job_id=a%2Frequeue"],
    ["..", "jobs/-/{}?job_id=.."],
    ["a\nb", "jobs/-/{}?job_id=a%0Ab"],
    ["-", "jobs/-/{}"],
    ["a ü%2F?#", "jobs/a%20%C3%BC%252F%3F%23/{}"],
    ["9223372036854775807", "jobs/9223372036854775807/{}"],
  ]) {
    const body = JSON.stringify({ job_id: id, run_epoch: 3 });
    const played = await play(() => {}, { claim: () => [200, { ...JOB, job_id: 9223372036854776000 }] }, { message: { body } });
    for (const what of ["claim", "complete"]) assert.equal(played.asked.find(([each]) => each === what)[2], path.replace("{}", what));
  }
});

test("a run learns from its progress that it is lost", async () => {
  const played = await play(
    async (run) => {
      run.progress(10);
      await new Promise((resolve) => run.signal.addEventListener("abort", resolve));
    },
    { percent: () => [200, { verdict: "superseded" }] },
  );
  assert.deepEqual([played.of("complete").length, played.of("fail").length], [0, 0]);
});

test("a note is repeated until the console has it, under one name, and refused ones throw", async () => {
  const refused = [];
  const played = await play(
    async (run) => {
      await run.note("submitted to maps", "maps/1");
      await run.note("submitted to pages");
      await run.note("x").catch((error) => refused.push(error.message));
    },
    {
      progress: ({ note }, times) => {
        if (note === "x") return [422, { detail: "no" }];
        if (times === 1) return broken();
        return times === 2 ? [503, { outcome: "unknown" }] : [200, { verdict: "continue" }];
      },
    },
  );
  assert.deepEqual(
    played.of("progress").map(({ note, once, asked_before }) => [note, once, asked_before]),
    [
      ["submitted to maps", "1", false],
      ["submitted to maps", "1", true],
      ["submitted to maps", "1", true],
      ["submitted to pages", "2", false],
      ["x", "3", false],
    ],
  );
  assert.deepEqual(refused, ["The note was not recorded: no"]);
});

test("a note of a run that is lost, or out of time, is not repeated for ever", async () => {
  const ended = [];
  const noted = async (run) => run.note("x").catch((error) => (ended.push(error.name), Promise.reject(error)));
  await play(noted, { progress: broken, beat: (_, times) => [200, { verdict: times > 2 ? "superseded" : "continue" }] });
  await play(
    async (run) => {
      process.emit("SIGTERM");
      return noted(run);
    },
    { progress: broken },
    { worker: { signals: true, graceMs: 20 } },
  );
  assert.deepEqual(ended, ["RunLost", "WorkerStopped"]);
});

test("a job is claimed, its message deleted, its run reported, and the worker leaves", async () => {
  const played = await play((run) => ({ submitted: run.job.packageSize }));
  assert.deepEqual(played.of("complete")[0].details, { submitted: 5 });
  assert.equal(played.message.removed, 1);
  assert.deepEqual([played.of("fail").length, played.of("leave").length], [0, 1]);
  const ids = new Set(played.asked.map(([, body]) => body.worker_id));
  assert.equal(ids.size, 1);
});

test("a claim without an answer is asked again as such, and a report is repeated until it counts", async () => {
  const played = await play(() => {}, {
    claim: (_, times) => (times === 1 ? broken() : times === 2 ? [409, { reason: "locked", settled: false }] : [200, JOB]),
    complete: (_, times) => (times === 1 ? broken() : times === 2 ? [503, { reason: "locked" }] : [200, { outcome: "completed" }]),
  });
  assert.deepEqual(played.of("claim").map((body) => body.asked_before), [false, true, true]);
  assert.equal(played.of("complete").length, 3);
  assert.equal(played.message.removed, 1);
});

test("a lost run aborts its handler and is never reported", async () => {
  for (const verdict of ["superseded", "cancelled"]) {
    const played = await play(
      async (run) => {
        await once(run.signal, "abort");
        assert.equal(run.signal.reason.verdict, verdict);
        return { done: true };
      },
      { beat: (body, times) => [200, { verdict: body.run_epoch && times > 3 ? verdict : "continue" }] },
    );
    assert.deepEqual([played.of("complete").length, played.of("fail").length], [0, 0]);
  }
});

test("no heartbeat follows the report", async () => {
  const played = await play(() => new Promise((resolve) => setTimeout(resolve, 100)));
  const what = played.asked.filter(([, body]) => body.run_epoch).map(([each]) => each);
  assert.equal(what.at(-1), "complete");
  assert.ok(what.filter((each) => each === "beat").length >= 2);
});

test("refused claims leave their messages where the answer says", async () => {
  const cases = [
    [409, { settled: true, reason: "ended" }, 1, []],
    [409, { settled: false, reason: "too_early", retryAfter: 42 }, 0, [42]],
    [409, { settled: false, reason: "not_waiting", retryAfter: 0 }, 0, [10]],
    [404, { settled: false, reason: "unknown_job", retryAfter: 0 }, 0, [10]],
    [409, { settled: false, reason: "locked", retryAfter: 30 }, 0, [30]],
  ];
  for (const [status, body, removed, hidden] of cases) {
    const played = await play(() => assert.fail("not ours"), { claim: () => [status, body] });
    assert.deepEqual([played.message.removed, played.message.hidden], [removed, hidden], body.reason);
  }
  const odd = await play(() => assert.fail("no job"), {}, { message: { body: "[]", receiveCount: 3 } });
  assert.deepEqual([odd.of("claim").length, odd.message.removed, odd.message.hidden], [0, 0, [40]]);
});

test("errors fail the run, with or without another try; handlers are found by kind", async () => {
  const failing = (error) => () => {
    throw error;
  };
  const plain = await play(failing(new Error("maps is away")));
  assert.deepEqual([plain.of("fail")[0].error, plain.of("fail")[0].retryable], ["Error: maps is away", true]);
  const permanent = await play(failing(new PermanentError("no such business")));
  assert.equal(permanent.of("fail")[0].retryable, false);
  const byKind = await play({ a: () => ({ by: "a" }), b: failing(new Error("b")) });
  assert.deepEqual(byKind.of("complete")[0].details, { by: "a" });
  const unknown = await play({ toString: () => {}, b: () => {} }, {}, { queue: { kindOf: () => "toString2" } });
  assert.match(unknown.of("fail")[0].error, /no handler for jobs of the kind 'toString2'/);
});

test("a result that the console can't store is replaced by the reason", async () => {
  const played = await play(() => ({ bad: "\0" }), {
    complete: (body) => (body.details.bad ? [422, { detail: "details can't be stored" }] : [200, { outcome: "completed" }]),
  });
  assert.deepEqual(played.of("complete")[1].details, { result_not_kept: "details can't be stored" });
});

test("a result that is too large is replaced, also where a proxy says so", async () => {
  const proxy = { "Content-Type": "text/html" };
  const played = await play(() => ({ bad: "x" }), {
    complete: (body) => (body.details.bad ? [413, {}, proxy] : [200, { outcome: "completed" }]),
  });
  assert.deepEqual(played.of("complete")[1].details, { result_not_kept: "the console refused it" });
});

test("a result that is cut off each time is left out, and one that is no JSON at once", async () => {
  const cut = ({ details }) => ("result_not_kept" in details ? [200, { outcome: "completed" }] : broken());
  const large = await play(() => ({ text: "é".repeat(100_000) }), { complete: cut });
  const sent = large.of("complete");
  assert.deepEqual(
    sent.map(({ details }) => Object.keys(details)),
    [["text"], ["text"], ["text"], ["result_not_kept"]],
  );
  assert.match(sent.at(-1).details.result_not_kept, /the connection broke each time that 2000\d\d bytes were sent/);
  for (const result of [{ number: 1n }, (() => { const own = {}; own.own = own; return own; })()]) {
    const [one, ...more] = (await play(() => result)).of("complete");
    assert.match(one.details.result_not_kept, /it is not JSON/);
    assert.equal(more.length, 0);
  }
});

test("a result is kept while the console is away, however large it is", async () => {
  let away = 4;
  const played = await play(() => ((away = 4), { text: "x".repeat(100_000) }), {
    complete: (body) => ((away -= 1) >= 0 ? broken() : [200, { outcome: "completed" }]),
    beat: (body) => ("run_epoch" in body && away < 4 && away > 0 ? broken() : [200, { verdict: "continue" }]),
  });
  assert.deepEqual(Object.keys(played.of("complete").at(-1).details), ["text"]);
});

test("a page that answers in the console's place claims nothing", async () => {
  const played = await play(() => {}, { claim: (_, times) => (times === 1 ? [200, {}, { "Content-Type": "text/html" }] : [200, JOB]) });
  assert.equal(played.of("claim").length, 2);
  assert.equal(played.of("complete")[0].run_epoch, 3);
});

test("a report is repeated while something before the console answers in its place", async () => {
  const proxy = { "Content-Type": "text/html" };
  for (const status of [200, 302, 400, 403, 404, 408]) {
    const played = await play(() => {}, {
      complete: (_, times) => (times === 1 ? [status, {}, proxy] : [200, { outcome: "completed" }]),
    });
    assert.equal(played.of("complete").length, 2, String(status));
  }
});

test("SIGTERM lets the run finish, receives nothing more, and aborts the run when the grace is over", async () => {
  const seen = [];
  const finishing = await play(async (run) => {
    process.kill(process.pid, "SIGTERM");
    await once(run.stopping, "abort");
    seen.push(run.signal.aborted);
    return { finished: true };
  }, {}, { worker: { signals: true, graceMs: 10_000 } });
  assert.deepEqual([seen, finishing.of("complete")[0].details], [[false], { finished: true }]);
  const aborted = await play(async (run) => {
    process.kill(process.pid, "SIGTERM");
    await once(run.signal, "abort");
    throw run.signal.reason;
  }, {}, { worker: { signals: true, graceMs: 20 } });
  assert.deepEqual([aborted.of("fail")[0].error.split(":")[0], aborted.of("fail")[0].retryable], ["WorkerStopped", true]);
  assert.equal(process.listenerCount("SIGTERM"), 0);
});

test("a key that the console refuses ends the worker with a sentence", async () => {
  await assert.rejects(play(() => {}, { beat: () => [403, { detail: "This API key does not have the scope 'worker'." }] }), /scope 'worker'/);
  assert.throws(() => new Worker({ queues: {} }), /url and key/);
});

test("messages are read as the console writes them", () => {
  assert.deepEqual(namedBy('{"job_id": 7}'), { jobId: "7", runEpoch: undefined, deadLetterId: undefined });
  assert.deepEqual(namedBy('{"job_id": "a", "run_epoch": 2, "dead_letter_id": "d"}'), { jobId: "a", runEpoch: 2, deadLetterId: "d" });
  assert.equal(namedBy('{"a": {"job_id": "x"}, "job_id" : 9223372036854775807, "b": "\\"job_id\\": 1234567890123456789"}').jobId, "9223372036854775807");
  assert.equal(namedBy('{"job_id": "-9223372036854775808"}').jobId, "-9223372036854775808");
  assert.equal(namedBy('{"job_id": -9223372036854775808}').jobId, "-9223372036854775808");
  for (const odd of ["", "null", "[]", "{}", '{"job_id": ""}', '{"job_id": 1.5}', '{"job_id": "a", "run_epoch": "1"}']) {
    assert.equal(namedBy(odd), undefined, odd);
  }
});

test("messages of SQS are received, deleted and hidden", async () => {
  const calls = [];
  const sqs = {
    receiveMessage: async (input) => (calls.push(input), { Messages: [{ Body: "b", ReceiptHandle: "r", Attributes: { ApproximateReceiveCount: "2" } }] }),
    deleteMessage: async (input) => calls.push(input),
    changeMessageVisibility: async (input) => calls.push(input),
  };
  const message = await fromSqs(sqs, "q")(new AbortController().signal);
  assert.deepEqual([message.body, message.receiveCount], ["b", 2]);
  await message.remove();
  await message.hide(1.2);
  assert.deepEqual(calls.slice(1), [{ QueueUrl: "q", ReceiptHandle: "r" }, { QueueUrl: "q", ReceiptHandle: "r", VisibilityTimeout: 2 }]);
});

test("a key crosses no network in clear, unless that is allowed", async () => {
  const made = (url, more = {}) => new Worker({ queues: { default: {} }, url, key: "ock_x", ...more });
  for (const url of ["http://ops.example.com", "http://10.0.0.7:8000/ops", "http://localhost.example.com"]) {
    assert.throws(() => made(url), /must begin with https:.* set OPSCONSOLE_ALLOW_PLAIN_HTTP=true/);
    const limiter = rateLimit({ policy: "in-clear", maxRequests: 1, url, key: "ock_x" });
    await assert.rejects(limiter.check({ headers: {}, socket: { remoteAddress: "192.0.2.1" } }), /must begin with https:/);
    made(url, { plainHttp: true });
    process.env.OPSCONSOLE_ALLOW_PLAIN_HTTP = "true";
    made(url);
    assert.throws(() => made(url, { plainHttp: false }), /must begin with https:/);
    delete process.env.OPSCONSOLE_ALLOW_PLAIN_HTTP;
  }
  for (const url of ["https://ops.example.com", "http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"]) made(url);
});

test("pauses grow, have jitter and an end", () => {
  const backoff = new Backoff(100, 1000);
  const pauses = Array.from({ length: 8 }, () => backoff.next());
  assert.ok(pauses.every((pause, tries) => pause >= Math.min(1000, 100 * 2 ** tries) / 2 && pause <= 1000));
  // A page before the console asks for a day, or for longer than a timer can wait.
  assert.deepEqual([30_000, 86_400_000, 1e15].map((asked) => backoff.next(asked)), [30_000, 60_000, 60_000]);
});
