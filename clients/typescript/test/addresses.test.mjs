// Who the client is: no header that a client can send changes it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { clientAddress, configured } from "../dist/limiter/client-address.js";
import { clientOf } from "../dist/limiter/ip-address.js";
import { identityOf } from "../dist/limiter/identity.js";

const cases = [
  ["192.0.2.7", "192.0.2.7"],
  [" 192.0.2.7:5555 ", "192.0.2.7"],
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["::ffff:c000:207", "192.0.2.7"],
  ["64:ff9b::192.0.2.7", "192.0.2.7"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["[2001:DB8::17]:4711", "2001:db8::/64"],
  ["fe80::1%eth0", "fe80::/64"],
  ["::1", "::/64"],
  ["1:2:3:4:5:6:7::", "1:2:3:4::/64"],
  ...["", undefined, "unknown", "1.2.3", "1.2.3.256", "01.2.3.4", "1::2::3", ":::", "12345::", "1:2:3:4:5:6:7:8:9", "g::", "9".repeat(200)].map(
    (each) => [each, undefined],
  ),
];

test("addresses are read as the console reads them", () => {
  for (const [text, client] of cases) assert.equal(clientOf(text), client, text);
});

const node = (headers, remoteAddress = "192.0.2.1") => ({ headers, socket: { remoteAddress } });
const forged = "198.51.100.77";

test("the socket is believed, and no header", () => {
  const headers = { "x-forwarded-for": forged, "x-real-ip": forged, forwarded: `for=${forged}`, "cf-connecting-ip": forged };
  assert.equal(clientAddress(node(headers), "socket"), "192.0.2.1");
  assert.equal(clientAddress(node(headers), undefined), "192.0.2.1");
});

test("entries are counted from the right, and what is further left is ignored", () => {
  const of = (header, n, socket) => clientAddress(node({ "x-forwarded-for": header }, socket), { trustedProxies: n });
  assert.equal(of(`${forged}, 203.0.113.9`, 1), "203.0.113.9");
  assert.equal(of(`${forged}, 203.0.113.9, 10.0.0.1`, 2), "203.0.113.9");
  assert.equal(of("203.0.113.9", 2), "203.0.113.9");
  assert.equal(of([forged, "203.0.113.9"], 1), "203.0.113.9");
  assert.equal(of(`${forged}, unknown`, 1), "192.0.2.1", "an entry that is no address ends the search");
  assert.equal(of(`${forged}, nonsense, 10.0.0.1`, 2), "10.0.0.1");
  assert.equal(of(undefined, 1), "192.0.2.1");
});

test("a web request has no socket, so its source must be named", () => {
  const request = new Request("http://localhost/", { headers: { "x-forwarded-for": `${forged}, 203.0.113.9` } });
  assert.equal(clientAddress(request, { trustedProxies: 1 }), "203.0.113.9");
  assert.throws(() => clientAddress(request, "socket"), /OPSCONSOLE_CLIENT_ADDRESS=proxies:1/);
  assert.throws(() => clientAddress(request, { trustedProxies: 0 }), /from 1 to 20/);
  assert.equal(clientAddress(new Request("http://localhost/"), { trustedProxies: 1 }), "unknown");
});

test("a platform's header and a function are explicit", () => {
  const request = node({ "x-vercel-forwarded-for": "203.0.113.9", "x-forwarded-for": forged });
  assert.equal(clientAddress(request, { platformHeader: "X-Vercel-Forwarded-For" }), "203.0.113.9");
  assert.equal(clientAddress(request, () => "203.0.113.8"), "203.0.113.8");
  assert.equal(clientAddress(request, () => "nobody"), "unknown");
});

test("the environment names the source, or is refused", () => {
  for (const [text, source] of [
    ["socket", "socket"],
    ["proxies:2", { trustedProxies: 2 }],
    ["header:x-real-ip", { platformHeader: "x-real-ip" }],
  ]) {
    process.env.OPSCONSOLE_CLIENT_ADDRESS = text;
    assert.deepEqual(configured(), source);
  }
  for (const text of ["proxies", "proxies:0", "proxies:-1", "header:", "header:a b", "x-forwarded-for"]) {
    process.env.OPSCONSOLE_CLIENT_ADDRESS = text;
    assert.throws(configured, /must be/, text);
  }
  delete process.env.OPSCONSOLE_CLIENT_ADDRESS;
});

test("names that the console would refuse are hashed", () => {
  assert.equal(identityOf("customer-17"), "customer-17");
  for (const odd of ["a\0b", "é", "\ud800", "x".repeat(1000), "two words"]) {
    assert.match(identityOf(odd), /^hash:[0-9a-f]{16}$/);
  }
  assert.notEqual(identityOf("é1"), identityOf("é2"));
  for (const none of ["", undefined, 7]) assert.throws(() => identityOf(none), /keyGenerator/);
});
