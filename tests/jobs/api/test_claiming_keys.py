"""A run is ended with the key that claimed it, or with a successor of that key, and by nobody else who knows the worker's id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.models import Job, JobEvent, Status
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from tests.factories import job, run
from tests.keys import key, sent

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _queue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


class Caller:
    """Somebody who knows the worker's id, and has a key."""

    def __init__(self, client: Client, name: str, succeeds: ApiKey | None = None) -> None:
        self.client = client
        self.key, text = key(name, ["worker"], succeeds=succeeds)
        self.headers = sent(text)

    def post(self, made: Job, what: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        answer = self.client.post(
            f"/api/jobs/{made.pk}/{what}",
            json.dumps({"worker_id": "node-1", "run_epoch": made.run_epoch} | fields),
            content_type="application/json",
            headers=self.headers,
        )
        return answer.status_code, answer.json()


@pytest.fixture
def shop(client: Client) -> Caller:
    return Caller(client, "shop")


@pytest.fixture
def claimed(shop: Caller) -> Job:
    waiting = job()
    assert shop.post(waiting, "claim")[0] == 200
    return waiting


@pytest.mark.parametrize(("what", "fields"), [("complete", {}), ("fail", {"error": "x"})])
def test_another_key_ends_nothing(claimed: Job, client: Client, what: str, fields: dict[str, Any]) -> None:
    mallory = Caller(client, "mallory")
    status, answer = mallory.post(claimed, "beat")
    assert (status, answer["reason"]) == (409, "worker_id_taken")
    assert mallory.post(claimed, "claim", asked_before=True)[1]["reason"] == "already_claimed"

    status, answer = mallory.post(claimed, what, **fields)

    assert (status, answer["reason"]) == (409, "superseded")
    assert Job.objects.get().status == Status.IN_PROGRESS
    [late] = JobEvent.objects.filter(kind=JobEvent.Kind.LATE_RESULT_REJECTED)
    assert late.details["told_by"] == "another API key than the one that claimed the run"


def test_worker_without_the_key_gives_nothing_back(claimed: Job, shop: Caller) -> None:
    assert not lifecycle.give_back(claimed.pk, Worker("node-1"))
    assert Job.objects.get().status == Status.IN_PROGRESS
    assert lifecycle.give_back(claimed.pk, Worker("node-1", key=str(shop.key.lineage)))


def test_the_claiming_key_ends_it(claimed: Job, shop: Caller) -> None:
    assert shop.post(claimed, "beat")[1] == {"verdict": "continue"}
    assert shop.post(claimed, "complete") == (200, {"outcome": "completed"})
    assert shop.post(claimed, "complete") == (200, {"outcome": "completed"})


def test_a_successor_ends_it_also_after_the_old_key_was_revoked(
    claimed: Job, shop: Caller, client: Client
) -> None:
    second = Caller(client, "shop, second", shop.key)
    third = Caller(client, "shop, third", second.key)
    api_keys.revoke(shop.key.pk, by="olga", reason="rotated")
    api_keys.revoke(second.key.pk, by="olga", reason="rotated")

    assert shop.post(claimed, "complete")[0] == 401
    assert third.post(claimed, "complete") == (200, {"outcome": "completed"})


def test_the_old_key_ends_what_its_successor_claimed(shop: Caller, client: Client) -> None:
    waiting = job()
    assert Caller(client, "shop, second", shop.key).post(waiting, "claim")[0] == 200
    assert shop.post(waiting, "complete")[0] == 200


def test_key_of_the_same_name_is_no_successor(claimed: Job, shop: Caller, client: Client) -> None:
    api_keys.revoke(shop.key.pk, by="olga", reason="lost")
    assert Caller(client, "shop").post(claimed, "complete")[0] == 409


def test_run_that_was_claimed_without_a_record_is_ended_by_its_worker(shop: Caller) -> None:
    """Keep runs working that were claimed before the upgrade, and by SQL of workers in other languages."""
    before = run(worker="node-1")
    assert before.claimed_by_key is None
    assert shop.post(before, "complete", worker_id="node-2")[0] == 409
    assert shop.post(before, "complete")[0] == 200


def test_record_of_an_earlier_run_does_not_count(claimed: Job, client: Client) -> None:
    Job.objects.update(run_epoch=2, claimed_epoch=2)
    again = Job.objects.get()
    assert Caller(client, "another").post(again, "complete")[0] == 200


def test_worker_in_process_needs_no_key(client: Client) -> None:
    worker = Worker("node-1")
    waiting = job()
    assert isinstance(lifecycle.claim(waiting.pk, 1, worker), RunningJob)
    assert Caller(client, "mallory").post(waiting, "complete")[0] == 409
    assert lifecycle.complete(Run(waiting.pk, 1, worker))


def test_worker_in_process_does_not_end_the_run_of_a_key(claimed: Job) -> None:
    assert not lifecycle.complete(Run(claimed.pk, 1, Worker("node-1")))


def test_it_costs_no_further_statement(shop: Caller) -> None:
    first = Worker("node-1", key=str(shop.key.lineage))
    for worker in (first, Worker("node-2")):
        waiting = job()
        with CaptureQueriesContext(
            connection,
        ) as claims:
            lifecycle.claim(waiting.pk, 1, worker)
        with CaptureQueriesContext(connection) as ends:
            lifecycle.complete(Run(waiting.pk, 1, worker))
        # The claim, and the job that it got; the end.
        assert (len(claims), len(ends)) == (2, 1)
