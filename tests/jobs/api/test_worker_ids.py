"""The id of a living worker belongs to the API key by which it reports, or to a successor of that key."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.models import Job, JobEvent, Status, WorkerHeartbeat
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs.heartbeats import Worker
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from tests.factories import beat, job
from tests.keys import key, sent

pytestmark = pytest.mark.django_db
TAKEN = (409, "worker_id_taken")


@pytest.fixture(autouse=True)
def _queue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


class Caller:
    """Somebody with a key, who reports under the id ``node-1``."""

    def __init__(self, client: Client, name: str, succeeds: ApiKey | None = None) -> None:
        self.client = client
        self.key, text = key(name, ["worker"], succeeds=succeeds)
        self.headers = sent(text)

    def post(self, path: str, **fields: Any) -> tuple[int, str]:
        """Return the status of the answer, and its reason or verdict."""
        answer = self.client.post(
            f"/api/{path}",
            json.dumps({"worker_id": "node-1"} | fields),
            content_type="application/json",
            headers=self.headers,
        )
        content = answer.json() if answer.content else {}
        return answer.status_code, content.get("reason") or content.get("verdict") or ""


@pytest.fixture
def shop(client: Client) -> Caller:
    caller = Caller(client, "shop")
    assert caller.post("workers/beat") == (204, "")
    return caller


def row() -> dict[str, Any]:
    return dict(WorkerHeartbeat.objects.filter(pk="node-1").values().get())


def test_another_key_changes_nothing_under_a_living_id(shop: Caller, client: Client) -> None:
    running, waiting = job(), job()
    assert shop.post(f"jobs/{running.pk}/claim", run_epoch=1)[0] == 200
    before = row()
    mallory = Caller(client, "mallory")

    assert mallory.post("workers/beat") == TAKEN
    assert mallory.post("workers/leave") == TAKEN
    assert mallory.post(f"jobs/{running.pk}/beat", run_epoch=1) == TAKEN
    assert mallory.post(f"jobs/{waiting.pk}/beat", run_epoch=1) == TAKEN
    assert mallory.post(f"jobs/{waiting.pk}/claim", run_epoch=1) == TAKEN
    assert mallory.post(f"jobs/{running.pk}/progress", run_epoch=1, note="all is well") == TAKEN
    assert not JobEvent.objects.filter(kind=JobEvent.Kind.PROGRESS).exists()
    # A late result is recorded on the job's timeline, and says nothing of the worker.
    assert mallory.post(f"jobs/{running.pk}/complete", run_epoch=1) == (409, "superseded")
    assert mallory.post(f"jobs/{running.pk}/fail", run_epoch=1, error="x") == (409, "superseded")

    assert row() == before
    assert set(Job.objects.values_list("pk", "status")) == {
        (running.pk, Status.IN_PROGRESS),
        (waiting.pk, Status.PENDING),
    }
    assert shop.post(f"jobs/{running.pk}/beat", run_epoch=1) == (200, "continue")
    assert shop.post("workers/leave") == (204, "")
    assert mallory.post("workers/beat") == (204, "")


def test_a_successor_and_the_key_before_it_have_the_same_ids(shop: Caller, client: Client) -> None:
    second = Caller(client, "shop, second", shop.key)
    assert second.post("workers/beat") == shop.post("workers/beat") == (204, "")
    assert second.post("workers/leave") == (204, "")


def test_id_of_a_dead_worker_is_free(shop: Caller, client: Client, settings: Any) -> None:
    settings.OPSCONSOLE_STALE_AFTER_SECONDS = 60
    WorkerHeartbeat.objects.update(last_heartbeat=Now() - timedelta(seconds=61))
    other = Caller(client, "other")
    assert other.post("workers/beat") == (204, "")
    assert shop.post("workers/beat") == TAKEN


def test_row_without_a_key_belongs_to_the_first_that_reports(client: Client) -> None:
    """Keep workers going that reported before the upgrade."""
    beat("node-1")
    assert Caller(client, "shop").post("workers/beat") == (204, "")
    assert Caller(client, "mallory").post("workers/beat") == TAKEN


def test_worker_with_the_database_may_use_any_id_and_keys_none_of_its(shop: Caller, client: Client) -> None:
    heartbeats.say(Worker("node-1"))
    assert shop.post("workers/beat") == TAKEN
    heartbeats.leave(Worker("node-1"))
    assert shop.post("workers/beat") == (204, "")


def test_it_costs_no_further_round_trip(shop: Caller) -> None:
    worker = Worker("node-1", key=str(shop.key.lineage))
    with CaptureQueriesContext(connection) as queries:
        heartbeats.say(worker)
        heartbeats.leave(worker)
    assert len(queries) == 2
