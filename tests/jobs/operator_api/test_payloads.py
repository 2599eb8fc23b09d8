"""Payloads through the operator's API: read whole, and edited with the guards and the audit of the page."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.models import Job, JobEvent, Outbox, Status
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import people
from tests.factories import job, run
from tests.operators import WHY, Program, audited

pytestmark = pytest.mark.django_db
ALL = ("jobs:read", "jobs:edit", "payloads:read")
NEW = '{"street": "Main Street 1", "weight": 0.10000000000000000001}'


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


def test_failed_job_starts_again_with_the_new_payload() -> None:
    one = job(status="failed", payload={"street": ""})
    program = Program(*ALL)
    shown = program.get(f"jobs/{one.pk}/payload").json()
    assert (shown["will"], '"street": ""' in shown["payload"]) == (True, True)

    answer = program.change(f"jobs/{one.pk}/edit", shown["version"], payload=NEW, once="a")

    assert (answer.status_code, answer.json()["job"]["run"]) == (200, 2), answer.content
    assert "0.10000000000000000001" in program.get(f"jobs/{one.pk}/payload").json()["payload"]
    assert audited() == [
        (
            str(one.pk),
            program.actor,
            "Edited the payload and started the job again.",
            WHY,
            "Queued for run 2.",
        )
    ]
    assert set(JobEvent.objects.values_list("kind", flat=True)) == {"edited", "requeued"}
    again = program.change(f"jobs/{one.pk}/edit", shown["version"], payload=NEW, once="a")
    assert again.json() == answer.json() and Outbox.objects.count() == 1


def test_stale_view_running_job_and_wrong_payload_are_refused() -> None:
    one = job(status="failed", payload={"street": ""})
    program = Program(*ALL)
    seen = program.get(f"jobs/{one.pk}/payload").json()["version"]
    for payload in (
        "[]",
        "{",
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        '{"a": "\\u0000"}',
        '{"street": ""}',
        "",
        7,
        {"a": 1},
        "x" * 100_001,
    ):
        assert program.change(f"jobs/{one.pk}/edit", seen, payload=payload).status_code == 422, payload
    Job.objects.update(payload={"street": "theirs"})
    stale = program.change(f"jobs/{one.pk}/edit", seen, payload=NEW)
    assert (stale.status_code, stale.json()["reason"]) == (409, "changed")
    assert "theirs" in stale.json()["current"]["payload"]
    running = run()
    version = program.get(f"jobs/{running.pk}/payload").json()["version"]
    refused = program.change(f"jobs/{running.pk}/edit", version, payload=NEW)
    assert (refused.status_code, refused.json()["reason"]) == (409, "refused")
    assert audited() == [] and Job.objects.get(pk=one.pk).status == Status.FAILED


def test_scope_alone_edits_nothing_and_opens_no_other_route() -> None:
    one = job(status="failed")
    blind = Program("jobs:read", "jobs:edit")
    assert blind.get(f"jobs/{one.pk}/payload").json()["scope"] == "payloads:read"
    assert blind.change(f"jobs/{one.pk}/edit", "0" * 32, payload=NEW).json()["scope"] == "payloads:read"
    assert blind.get(f"jobs/{one.pk}").json()["actions"] == []
    both = Program("jobs:edit", "payloads:read", "letters:operate", name="both")
    assert both.change(f"jobs/{one.pk}/requeue", "0" * 32).json()["reason"] == "scope"
    assert both.post("bulk", {"action": "requeue", "all": True}).json()["scope"] == "jobs:operate"
    # Whoever may edit but not requeue can't make a job start again by it.
    program = Program(*ALL, maker=people.allowed("edit_job"), name="no requeue")
    version = program.get(f"jobs/{one.pk}/payload").json()["version"]
    assert program.change(f"jobs/{one.pk}/edit", version, payload=NEW).json()["reason"] == "permission"
    assert audited() == []
