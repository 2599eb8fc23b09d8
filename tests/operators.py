"""Programs that call the operator's API with a key of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsconsole.kit import audit
from ratelimits.keys import api_keys
from tests import keys, page_costs, people

WHY = "the address service is back"


class Program:
    """A program with a key that acts for ``maker``, a superuser unless another is given."""

    def __init__(self, *scopes: str, maker: User | None = None, name: str = "deploys") -> None:
        maker = maker or User.objects.filter(username="olga").first() or people.operator()
        self.key, text = keys.key(name, scopes, maker=maker)
        self.headers = keys.sent(text)
        self.client = Client(raise_request_exception=False)

    @property
    def actor(self) -> str:
        return f"the API key {self.key}, made by {self.key.maker}"

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/operator/{path}", query, headers=self.headers)

    def post(self, path: str, body: Any = None, *, once: str = "") -> Any:
        headers = self.headers | ({"Idempotency-Key": once} if once else {})
        text = json.dumps({} if body is None else body)
        return self.client.post(
            f"/api/operator/{path}", text, content_type="application/json", headers=headers
        )

    def change(self, path: str, version: str, *, once: str = "", **more: Any) -> Any:
        """Send a change of what was seen in this version."""
        return self.post(path, {"reason": WHY, "version": version} | more, once=once)


def audited() -> list[tuple[str, str, str, str, str]]:
    """Return the lines of the audit about changes: of what, who, what was done, why, with what result."""
    lines = audit.with_details(LogEntry.objects.order_by("pk"))
    told = [(line, audit.parts_of(line)) for line in lines]
    return [(str(line.object_id), audit.who(line), each.did, each.why, each.result) for line, each in told]


def statements(call: Callable[[], Any]) -> int:
    """Return how many statements a call takes, with the key looked up as after a second without calls.

    The cheapest of three calls counts: any of them may read what is cached for seconds.
    """
    counts = []
    for _ in range(page_costs.REQUESTS):
        api_keys.clear_cache()
        with CaptureQueriesContext(connection) as asked:
            assert call().status_code == 200
        counts.append(len(asked))
    return min(counts)


def names(rows: Iterable[Any]) -> list[str]:
    return [str(row.pk) for row in rows]
