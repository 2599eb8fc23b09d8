"""The TypeScript package in a real Next.js application: the plan's route, an app route and middleware."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import presets
from tests.clients.node import HERE, make, service
from tests.field.installed import installed
from tests.keys import key
from tests.serving import gunicorn

pytestmark = pytest.mark.django_db(transaction=True)

APP = HERE / "next-app"
LIMIT, CALLS = 100, 150


def test_routes_of_a_built_application_are_limited(limiter: None, tmp_path: Path) -> None:
    make(f"{APP.relative_to(HERE.parents[1])}/.next/built")
    presets.write()
    environ = {
        "NEXT_TELEMETRY_DISABLED": "1",
        "NODE_ENV": "production",
        "OPSCONSOLE_KEY": key("shop", ["limits:check"])[1],
        # Only a console that hangs takes as long, however slow the machine is.
        "OPSCONSOLE_BUDGET_MS": "20000",
    }
    command = [installed("nodejs"), str(APP / "node_modules" / "next" / "dist" / "bin" / "next"), "start"]
    command += [str(APP), "--hostname", "127.0.0.1"]
    with (
        gunicorn(tmp_path) as port,
        service(tmp_path, command, **environ, OPSCONSOLE_URL=f"http://127.0.0.1:{port}") as running,
        ThreadPoolExecutor(4) as pool,
    ):
        # The plan's own test: the first 100 succeed, the next 50 get 429. A header that a client sends changes nothing.
        answers = list(
            pool.map(
                lambda number: running.get(
                    "/api/queue/TEST-001", **{"X-Forwarded-For": f"198.51.100.{number}"}
                ),
                range(CALLS),
            )
        )
        assert Counter(answer.status for answer in answers) == {200: LIMIT, 429: CALLS - LIMIT}
        for answer in answers:
            assert answer.headers["RateLimit-Policy"] == '"standard";q=100;w=60'
            if answer.status == 429:
                assert answer.json["error"] == "Too many requests"
                assert int(answer.headers["Retry-After"]) == answer.json["retryAfter"]
            else:
                assert answer.json == {"customerId": "TEST-001"}
        # The handler of a refused request did no work, and nothing was written twice.
        log = running.log.read_text()
        assert log.count("worked for TEST-001") == LIMIT
        assert "ERR_HTTP_HEADERS_SENT" not in log
        assert "\n    at " not in log, log[:2_000]

        # An app route and middleware share the policy 'strict' here, and have each their own client.
        for path, client in (("/api/search?q=x", "203.0.113.1"), ("/api/guarded", "203.0.113.2")):
            behind = [{"X-Forwarded-For": f"198.51.100.{number}, {client}"} for number in range(15)]
            statuses = [running.get(path, **headers) for headers in behind]
            assert [each.status for each in statuses] == [200] * 10 + [429] * 5, path
            assert statuses[0].headers["RateLimit"].startswith('"strict";r=9;t='), path
            assert statuses[-1].headers["Content-Type"] == "application/problem+json"
