"""What figures ask of a day of events is found by the index of rare kinds, whatever else happened that day."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from jobs.models.event import RARE_KINDS, JobEvent
from jobs.watch import lost_workers
from opsconsole.kit.one_statement import Reading, count_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "reading",
    [
        count_of(lost_workers.within_a_day()),
        count_of(lost_workers.taken_within_a_day()),
        count_of(lost_workers.recovered_within_a_day()),
    ],
    ids=["lost workers", "taken", "recovered"],
)
def test_day_of_events_is_read_by_the_index_of_rare_kinds(reading: Reading[Any]) -> None:
    with connection.cursor() as cursor:
        # A table of a few rows is read as a whole otherwise.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {reading.sql}", reading.params)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "job_events_rare_idx" in plan, plan


def test_rare_kinds_are_kinds_of_events() -> None:
    kinds = {*lost_workers.BY_SWEEPS, *lost_workers.BY_HAND, JobEvent.Kind.CLAIM_REFUSED}
    assert set(RARE_KINDS) == {str(kind) for kind in kinds}
