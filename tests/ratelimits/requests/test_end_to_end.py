"""Rate limiting from end to end: gunicorn with processes and threads, a real store, and HTTP requests."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from ratelimits.models import ApiKey, Policy, RateLimitRequest
from tests import presets
from tests.factories import job
from tests.keys import key, sent
from tests.serving import gunicorn
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _presets(db: None, limiter: None) -> None:
    presets.write()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Start a server with two processes of four threads, on the tests' database and store, and return its port."""
    with gunicorn(tmp_path) as number:
        yield number


class Response:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


def get(port: int, path: str, headers: dict[str, str] | None = None, body: Any = None) -> Response:
    """Send one request on a new connection."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        data = json.dumps(body) if body is not None else None
        client.request("POST" if data else "GET", path, data, headers or {})
        return Response(client.getresponse())
    finally:
        client.close()


def test_exactly_100_of_150_calls_are_allowed(port: int) -> None:
    responses = [get(port, "/api/queue/TEST-001") for _ in range(150)]

    assert [each.status for each in responses] == [200] * 100 + [429] * 50
    assert responses[0].headers["RateLimit-Policy"] == '"standard";q=100;w=60'
    for refused in responses[100:]:
        seconds = int(refused.headers["Retry-After"])
        assert 1 <= seconds <= 61
        body = json.loads(refused.body)
        assert (body["error"], body["retryAfter"]) == ("Too many requests", seconds)
        assert refused.headers["Cache-Control"] == "no-store"


def test_threads_share_a_limit_while_other_policies_are_edited(port: int) -> None:
    finished = threading.Event()

    def edit() -> None:
        limit = 500
        while not finished.is_set():
            limit += 1
            Policy.objects.filter(name="relaxed").update(limit=limit)
            finished.wait(0.02)
        connection.close()

    editor = threading.Thread(target=edit)
    editor.start()
    with ThreadPoolExecutor(12) as pool:
        statuses = Counter(pool.map(lambda _: get(port, "/api/queue/TEST-001").status, range(150)))
    finished.set()
    editor.join()

    assert statuses == {200: 100, 429: 50}


def test_edit_takes_effect_in_running_processes_and_keeps_the_count(port: int) -> None:
    for _ in range(20):
        get(port, "/api/queue/a")
    Policy.objects.filter(name="standard").update(limit=21)

    wait_until(lambda: get(port, "/api/queue/a").status == 429, what="the lower limit, in either process")


def test_requests_are_recorded_in_the_background(port: int) -> None:
    headers = sent(key("shop")[1])
    for _ in range(3):
        assert get(port, "/api/queue/a").status == 200
    response = get(port, "/api/limits/check", headers, {"policy": "standard", "identity": "x"})
    assert response.status == 200

    recorded: Any = wait_until(
        lambda: RateLimitRequest.objects.filter(key="address:127.0.0.1", outcome="allowed").first(),
        timeout=20,
        what="the record",
    )
    assert recorded.policy == "standard"
    wait_until(lambda: ApiKey.objects.get().last_used_at, timeout=20, what="the key's last use")
    assert recorded.endpoint.startswith("/api/queue/")


def test_worker_runs_a_job_over_http(port: int) -> None:
    headers = sent(key("workers", ["worker"])[1])
    waiting = job()

    claimed = get(port, f"/api/jobs/{waiting.pk}/claim", headers, {"worker_id": "node-1"})
    assert claimed.status == 200
    ended = get(port, f"/api/jobs/{waiting.pk}/complete", headers, {"worker_id": "node-1", "run_epoch": 1})
    assert json.loads(ended.body) == {"outcome": "completed"}
