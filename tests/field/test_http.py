"""Tests of HTTP on a kept connection: every response is complete, and the next one starts right after it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from tests.field.console import Console
from tests.field.proxy import Proxy
from tests.field.visitor import FORM, Visitor
from tests.responses import next_response, whole_response

JSON = {"Content-Type": "application/json"}
NEW_JOB = json.dumps({"customer_id": "c-1", "package_size": 3})
KEY_TWICE = '{"customer_id": "c-1", "customer_id": "c-2", "package_size": 3}'
CLAIM = json.dumps({"worker_id": "w-1"})
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
# Method, path, body, headers, and the status of the answer.
Request = tuple[str, str, str | None, dict[str, str], int]
FAILURE = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'theirs' USING ERRCODE = 'internal_error'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON jobs FOR EACH ROW WHEN (NEW.customer_id = 'theirs') EXECUTE FUNCTION fail();
"""


@pytest.fixture
def proxy(console: Console) -> Iterator[Proxy]:
    with console.served() as served:
        yield served


def test_every_api_error_is_complete_on_a_kept_connection(console: Console, proxy: Proxy) -> None:
    console.database.sql(FAILURE)
    theirs = json.dumps({"customer_id": "theirs", "package_size": 3})
    key, checker = console.key("jobs:write", "worker"), console.key("limits:check")
    strict = console.key("jobs:write", policy="strict")
    may = {"Authorization": f"Bearer {key}"}
    with Visitor(proxy) as visitor:
        job = visitor.ask("POST", "/api/jobs", NEW_JOB, JSON | may).json()["id"]
        claim = f"/api/jobs/{job}/claim"
        assert visitor.ask("POST", claim, CLAIM, JSON | may).status == 200
    errors: list[Request] = [
        ("GET", "/api/nothing", None, {}, 404),
        ("DELETE", "/api/queue/X", None, {}, 405),
        # A slash too many: not an empty list of another customer.
        ("GET", "/api/queue/c-1/", None, {}, 404),
        ("POST", "/api/docs", "", FORM, 403),
        ("POST", "/api/jobs", NEW_JOB, JSON | {"Authorization": f"Bearer {checker}"}, 403),
        ("POST", "/api/jobs", "", JSON, 401),
        ("POST", "/api/jobs", "{}", JSON | may, 422),
        ("POST", "/api/jobs", KEY_TWICE, JSON | may, 422),
        ("POST", claim, CLAIM, JSON | may, 409),
        ("POST", "/api/jobs", theirs, JSON | may, 500),
        *[("POST", "/api/jobs", "{}", JSON | {"Authorization": f"Bearer {strict}"}, 422)] * 10,
        ("POST", "/api/jobs", "{}", JSON | {"Authorization": f"Bearer {strict}"}, 429),
    ]
    # nginx refuses this address itself.
    odd: list[Request] = [("GET", "/api/queue/%00", None, {}, 400)]
    direct = http.client.HTTPConnection("localhost", proxy.console, timeout=60)
    through_nginx = http.client.HTTPSConnection("localhost", proxy.port, timeout=60, context=proxy.context())
    for client in (through_nginx, direct):
        client.connect()
        kept = client.sock
        for method, path, body, headers, status in errors if client is through_nginx else odd + errors[:10]:
            client.request(method, path, body, headers)
            answer = client.getresponse()
            received = answer.read()
            assert answer.status == status, (path, received)
            assert int(answer.headers["Content-Length"]) == len(received), path
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert json.loads(received)["status"] == status
            assert client.sock is kept, f"the connection was closed after {path}"
        client.close()


def test_pipelined_answer_after_each_error_is_whole(console: Console) -> None:
    """Send all at once: each error is followed by a request whose answer must start right after it."""
    console.database.sql(
        FAILURE + """UPDATE rate_limit_policies SET "limit" = 1 WHERE name = 'limits-check';"""
    )
    may = {"Authorization": f"Bearer {console.key('jobs:write', 'worker', 'limits:check')}"} | JSON
    strict = {"Authorization": f"Bearer {console.key('jobs:write', policy='strict')}"} | JSON
    theirs = json.dumps({"customer_id": "theirs", "package_size": 3})
    check = json.dumps({"policy": "standard", "identity": "a"})
    chunks = {"Transfer-Encoding": "chunked"}
    with console.served() as proxy:
        with Visitor(proxy) as visitor:
            job = visitor.ask("POST", "/api/jobs", NEW_JOB, may).json()["id"]
            claim = f"/api/jobs/{job}/claim"
            assert visitor.ask("POST", claim, CLAIM, may).status == 200
            assert visitor.ask("POST", "/api/limits/check", check, may).status == 200
        errors: list[Request] = [
            ("GET", "/api/queue/%00", None, {}, 400),
            ("POST", "/api/jobs", "", JSON, 401),
            ("POST", "/api/docs", "", FORM, 403),
            ("POST", "/admin/login/", "username=olga", FORM, 403),
            ("POST", "/admin/login/", "6\r\nuserna\r\n3\r\nme=\r\n0\r\n\r\n", FORM | chunks, 403),
            ("GET", "/api/nothing", None, {}, 404),
            ("GET", "/nothing", None, {}, 404),
            ("DELETE", "/api/queue/X", None, {}, 405),
            ("POST", "/healthz", "x", {}, 405),
            ("POST", claim, CLAIM, may, 409),
            ("POST", "/api/jobs", "x" * 3_000_000, may, 413),
            ("POST", "/api/jobs", "{}", may, 422),
            ("POST", "/api/jobs", "2\r\n{}\r\n0\r\n\r\n", may | chunks, 422),
            *[("POST", "/api/jobs", "{}", strict, 422)] * 10,
            ("POST", "/api/jobs", "{}", strict, 429),
            ("POST", "/api/jobs", theirs, may, 500),
            ("POST", "/api/limits/check", check, may, 503),
        ]
        last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", proxy.console), timeout=30) as plain:
            plain.sendall(b"".join(as_sent(*each) + PROBE for each in errors) + last)
            with plain.makefile("rb") as received:
                for method, path, _, _, status in errors:
                    assert (next_response(received).status, method, path) == (status, method, path)
                    assert next_response(received).body == b"ok", path
                assert next_response(received).body == b"ok"
                assert received.read() == b""


def as_sent(method: str, path: str, body: str | None, headers: dict[str, str], _status: int) -> bytes:
    length = {} if body is None or "Transfer-Encoding" in headers else {"Content-Length": str(len(body))}
    fields = {"Host": "localhost"} | headers | length
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in fields.items()),
        "",
        body or "",
    ]
    return "\r\n".join(lines).encode()


def test_answers_to_head_have_no_body(proxy: Proxy) -> None:
    with Visitor(proxy) as visitor:
        assert visitor.get("/healthz").body == b"ok"
        kept = visitor.socket
        for path in ("/api/nothing", "/api/docs", "/healthz"):
            assert visitor.ask("HEAD", path).body == b""
        assert visitor.get("/healthz").body == b"ok"
        assert visitor.socket is kept


def test_pipelined_responses_arrive_in_order(proxy: Proxy) -> None:
    """Send two requests at once: the second response contains nothing of the first."""
    request = b"GET /api/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxy.console), timeout=10) as plain:
        plain.sendall(request + last)
        assert json.loads(whole_response(plain).body)["status"] == 404
        assert whole_response(plain).body == b"ok"
        assert plain.recv(1) == b""
