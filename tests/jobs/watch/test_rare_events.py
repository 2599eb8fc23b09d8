"""What figures ask of a day of events is found by the index of rare kinds, whatever else happened that day."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection

from jobs.models.event import RARE_KINDS, JobEvent
from jobs.watch import lost_workers
from opsconsole.kit.one_statement import Reading, count_of

pytestmark = pytest.mark.django_db

# Of twenty thousand events within a day, twenty are of a rare kind.
MANY = """
WITH made AS (
    INSERT INTO jobs (customer_id, package_size) SELECT 'c', 1 FROM generate_series(1, 20000) RETURNING id
)
INSERT INTO job_events (job_id, at, kind, run_epoch, actor)
SELECT id, now() - n * interval '4 seconds', CASE WHEN n % 1000 = 0 THEN 'recovered' ELSE 'completed' END, 1, 'sweep'
  FROM (SELECT id, row_number() OVER () AS n FROM made) AS numbered
"""
# The index of each month has a name of its own.
INDEXES = "SELECT relname FROM pg_partition_tree('job_events_rare_idx') JOIN pg_class ON oid = relid"


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
        # Of a table of a few rows, what earlier tests left in its statistics decides.
        cursor.execute(MANY)
        cursor.execute("ANALYZE job_events, jobs")
        cursor.execute(f"EXPLAIN {reading.sql}", reading.params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute(INDEXES)
        indexes = {name for (name,) in cursor.fetchall()}

    assert indexes & set(re.findall(r"\w+", plan)), plan


def test_rare_kinds_are_kinds_of_events() -> None:
    kinds = {*lost_workers.BY_SWEEPS, *lost_workers.BY_HAND, JobEvent.Kind.CLAIM_REFUSED}
    assert set(RARE_KINDS) == {str(kind) for kind in kinds}
