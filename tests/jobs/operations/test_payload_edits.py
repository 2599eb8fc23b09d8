"""Tests of edits of payloads: of what was seen only, with the original kept, and started again in the same transaction."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.db import connection, transaction

from jobs.intake import payload_text
from jobs.models import Job, JobEvent, Outbox, Status
from jobs.operations import payload_edits
from jobs.operations.payload_edits import Seen
from jobs.operations.steps import OperationRefused, Outcome
from jobs.runs.timeline import Actor
from opsconsole.kit.bounded_columns import whole
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.running_job import RunningJob
from tests.factories import SECOND, job, run

OPERATOR = Actor.operator("ada", 7)
MENDED = '{"address": "Main Street 1", "total": 0.10000000000000000001}'


def seen(made: Job) -> Seen:
    found = payload_edits.look(made.pk)
    assert found is not None
    return found


def edit(looked: Seen, text: str = MENDED) -> Outcome:
    return payload_edits.carry_out(looked.step, looked.digest, text, OPERATOR, "the customer called")


def stored(made: Job) -> str:
    return str(Job.objects.filter(pk=made.pk).values_list(whole("payload"), flat=True).get())


def write(made: Job, text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET payload = %s::jsonb WHERE id = %s", [text, made.pk])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("made", "kinds"),
    [
        (job, ["edited"]),
        (lambda: job(status=Status.FAILED), ["edited", "requeued"]),
        (lambda: job(status=Status.QUARANTINED, recovery_count=3), ["edited", "released"]),
    ],
)
def test_job_that_does_not_run_gets_the_payload_and_keeps_the_original(made: Any, kinds: list[str]) -> None:
    one = made()
    write(one, '{"address": null, "price": 12.340}')
    epoch = one.run_epoch

    outcome = edit(seen(one))

    assert outcome.done, outcome
    again = len(kinds) > 1
    one.refresh_from_db()
    assert (one.status, one.run_epoch) == (Status.PENDING, epoch + again)
    assert '"total": 0.10000000000000000001' in stored(one)
    assert Outbox.objects.filter(job_id=one.pk).count() == again
    events = list(JobEvent.objects.filter(job_id=one.pk).order_by("id"))
    assert [event.kind for event in events] == kinds
    assert {(event.actor, event.user_id, event.reason) for event in events} == {
        ("operator:ada", 7, "the customer called")
    }
    assert events[0].details == {"payload_before": '{"price": 12.340, "address": null}'}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "made",
    [
        lambda: run(age=SECOND, silent=SECOND),
        lambda: job(status=Status.COMPLETED),
        lambda: job(status=Status.CANCELLED),
        lambda: job(status="archived"),
    ],
)
def test_other_jobs_are_left_alone(made: Any) -> None:
    one = made()
    looked = seen(one)
    assert (looked.step.will, looked.pretty) == (False, "")
    before = stored(one)
    assert not edit(looked).done
    assert stored(one) == before and not JobEvent.objects.filter(job_id=one.pk, kind="edited").exists()


@pytest.mark.django_db
def test_nothing_is_changed_when_the_job_is_not_as_it_was_seen() -> None:
    failed = job(status=Status.FAILED)
    first = seen(failed)
    assert edit(first).done
    assert "It changed in the meantime: now waiting, run 2." in edit(first, '{"other": 1}').sentence

    waiting = job()
    first = seen(waiting)
    write(waiting, '{"by": "somebody else"}')
    assert "Somebody else changed the payload" in edit(first).sentence
    assert stored(waiting) == '{"by": "somebody else"}'

    taken = job()
    first = seen(taken)
    assert isinstance(lifecycle.claim(taken.pk, None, Worker("w")), RunningJob)
    assert not edit(first).done

    gone = job()
    first = seen(gone)
    Job.objects.filter(pk=gone.pk).delete()
    assert "no longer exists" in edit(first).sentence


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ("[1]", "is a JSON object"),
        ("null", "is a JSON object"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', 'the key "c" is twice'),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "too deep"),
        ('{"a": 1e400}', "can't be stored"),
        ('{"a": 1e-400000}', "PostgreSQL can't store it"),
        (json.dumps({"a": "x" * payload_text.MOST_EDITED_BYTES}), "can't be entered here"),
    ],
)
def test_what_no_payload_can_be_is_refused(text: str, said: str) -> None:
    one = job(status=Status.FAILED)
    with pytest.raises(OperationRefused, match=said.replace("(", r"\(")):
        edit(seen(one), text)
    assert stored(one) == "{}" and not JobEvent.objects.filter(job_id=one.pk).exists()


@pytest.mark.django_db
def test_unchanged_payload_and_missing_reason_are_refused() -> None:
    one = job(status=Status.FAILED)
    write(one, '{"b": 1, "a": 2}')
    with pytest.raises(OperationRefused, match="unchanged"):
        edit(seen(one), '{"a":2,"b":1}')
    with pytest.raises(OperationRefused, match="Give a reason"):
        payload_edits.carry_out(seen(one).step, seen(one).digest, MENDED, OPERATOR, " ")


@pytest.mark.django_db
def test_payload_that_is_too_long_for_a_form_is_not_read() -> None:
    one = job(status=Status.FAILED)
    write(one, json.dumps({"a": "x" * (payload_text.MOST_EDITED_BYTES + 1)}))
    looked = seen(one)
    assert (looked.step.will, looked.pretty) == (False, "")
    assert "can be edited here" in looked.step.sentence


@pytest.mark.django_db(transaction=True)
def test_of_an_edit_and_a_claim_at_once_one_is_refused() -> None:
    """The claim has the row first: the edit waits for it, and then changes nothing."""
    one = job()
    looked = seen(one)
    outcomes: list[Outcome] = []

    def edits() -> None:
        try:
            outcomes.append(edit(looked))
        finally:
            connection.close()

    thread = threading.Thread(target=edits)
    with transaction.atomic():
        assert isinstance(lifecycle.claim(one.pk, None, Worker("w")), RunningJob)
        thread.start()
        _wait_until_somebody_waits()
    thread.join()

    assert [outcome.done for outcome in outcomes] == [False]
    assert "now in progress" in outcomes[0].sentence
    assert stored(one) == "{}"


def _wait_until_somebody_waits() -> None:
    from tests.waiting import wait_until

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(cursor.fetchone()[0])

    wait_until(waits)
