"""Tests of writing many events at once: each as it was given, in their order (I10)."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import DataError, transaction
from django.db.models.functions import Now

from jobs.models import JobEvent
from jobs.runs import timeline
from jobs.runs.timeline import CONSOLE, Actor, NewEvent
from opsconsole.kit.postgresql import binary_values

pytestmark = pytest.mark.django_db

OLGA = Actor.operator("olga", 7)


def test_events_are_written_as_given_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_values, "BATCH", 2)
    ids = [uuid4() for _ in range(5)]
    kinds = [JobEvent.Kind.REQUEUED, JobEvent.Kind.CANCELLED, JobEvent.Kind.EDITED]
    events = [
        NewEvent(
            ids[0],
            kinds[0],
            2,
            OLGA,
            'a "reason", {of} \\ many\nkinds: ü',
            {"worker": None, "n": [1, {"a": "ß"}]},
        ),
        NewEvent(ids[1], kinds[1], None, CONSOLE),
        NewEvent(ids[2], kinds[2], 2**31 - 1, OLGA, "NULL", {"payload_before": "{}"}),
        NewEvent(ids[3], kinds[0], 1, Actor.worker("host-1"), ""),
        NewEvent(ids[4], kinds[0], 1, CONSOLE, "", {}),
    ]

    timeline.record_all(events)

    written = JobEvent.objects.order_by("id").values_list(
        "job_id", "kind", "run_epoch", "actor", "user_id", "reason", "details"
    )
    assert list(written) == [
        (job_id, kind.value, epoch, actor.name, actor.user_id, reason, details)
        for job_id, kind, epoch, actor, reason, details in events
    ]
    assert not JobEvent.objects.filter(at__gt=Now()).exists()


def test_no_events_are_no_statement(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]  # a fixture of pytest-django
        timeline.record_all([])


def test_event_that_is_refused_takes_the_others_with_it() -> None:
    """They are one change: a caller that wants them apart tries each in a transaction of its own."""
    with pytest.raises(DataError), transaction.atomic():
        timeline.record_all(
            [NewEvent(uuid4(), JobEvent.Kind.EDITED, 1, OLGA, reason) for reason in ("good", "not \0 good")]
        )
    assert not JobEvent.objects.exists()
