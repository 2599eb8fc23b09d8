"""gunicorn with something on the store's port that is none, or answers in drips: every request is answered, and in time."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

import pytest

from ratelimits.models import LimiterTrouble
from tests import presets
from tests.fakes.store import answering, odd
from tests.keys import key
from tests.serving import gunicorn
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

CHECK = {"identity": "address:203.0.113.7", "policy": "strict"}
LIMIT = 10
# On a busy machine. Without a bound of its own, an answer in drips takes for ever.
PATIENCE = 5.0


class Service:
    """Another service that asks the served console."""

    def __init__(self, port: int, secret: str) -> None:
        self.port = port
        self.headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self.slowest = 0.0

    def check(self) -> Any:
        began = time.monotonic()
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        client.request("POST", "/api/limits/check", json.dumps(CHECK), self.headers)
        answer = client.getresponse()
        text = answer.read().decode()
        client.close()
        self.slowest = max(self.slowest, time.monotonic() - began)
        assert answer.status == 200, text
        return json.loads(text)


@pytest.mark.parametrize("name", ["half a list", "two thousand million elements", "a list of words"])
def test_requests_are_limited_while_the_store_answers_oddly(name: str, limiter: None, tmp_path: Path) -> None:
    presets.write()
    _, secret = key(scopes=["limits:check"])
    with (
        answering(odd(name)) as store,
        gunicorn(
            tmp_path, "--workers", "1", CACHE_URL=store.url, OPSCONSOLE_RATE_LIMIT_STORE=store.url
        ) as port,
    ):
        service = Service(port, secret)
        decisions = [service.check() for _ in range(LIMIT + 2)]
        assert [each["allowed"] for each in decisions] == [True] * LIMIT + [False] * 2
        assert all(each["degraded"] for each in decisions)
        assert service.slowest < PATIENCE
        wait_until(lambda: LimiterTrouble.objects.filter(kind=LimiterTrouble.Kind.STORE_AWAY).exists(), 30)
