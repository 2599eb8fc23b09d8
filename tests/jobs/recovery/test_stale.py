"""Tests of stale runs (I3) after an outage, and of those seen since a given time.

See also test_one_answer_about_staleness.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db.models.functions import Now

from jobs.models import Job, RecoveryControl
from tests.factories import SECOND, run

pytestmark = pytest.mark.django_db

THRESHOLD = timedelta(minutes=10)


def stale() -> set[UUID]:
    return set(Job.objects.stale().values_list("pk", flat=True))


def test_after_an_outage_staleness_counts_from_its_end() -> None:
    silent = run(age=timedelta(hours=1), silent=timedelta(minutes=50))
    RecoveryControl.objects.update(outage_ended_at=Now() - timedelta(minutes=9))
    assert stale() == set()
    RecoveryControl.objects.update(outage_ended_at=Now() - timedelta(minutes=11))
    assert stale() == {silent.pk}


@pytest.mark.parametrize(
    ("silent", "since", "expected"),
    [
        # A stale run was last seen at least the threshold ago, so a later time finds none.
        (THRESHOLD - SECOND, THRESHOLD, False),
        (THRESHOLD + SECOND, THRESHOLD - SECOND, False),
        (THRESHOLD + SECOND, THRESHOLD, False),
        (THRESHOLD + SECOND, THRESHOLD + 2 * SECOND, True),
        (2 * THRESHOLD, 2 * THRESHOLD - SECOND, False),
        (2 * THRESHOLD, 2 * THRESHOLD + SECOND, True),
    ],
)
def test_runs_stale_since_a_moment_are_counted(silent: timedelta, since: timedelta, expected: bool) -> None:
    run(age=3 * THRESHOLD, silent=silent)
    now = RecoveryControl.objects.annotate(db_now=Now()).values_list("db_now", flat=True).get()
    assert Job.objects.stale_and_seen_since(now - since).exists() is expected
