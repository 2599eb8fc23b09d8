"""Jobs that wait for their time are found by an index of theirs, however many others wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from jobs.admin import state_counts
from jobs.intake import waits
from jobs.models import Job
from jobs.models.job import JobQuerySet
from tests.factories import job
from tests.opsconsole.test_list_plans import Plans

pytestmark = pytest.mark.django_db
WAITING, SCHEDULED = 4_000, 3
FILLED = """
INSERT INTO jobs (customer_id, package_size, queue, status, not_before)
SELECT 'acme', 50, CASE n % 2 WHEN 0 THEN 'default' ELSE 'other' END, 'pending',
       CASE WHEN n <= 2 * %s THEN now() + interval '1 day' WHEN n % 10 = 9 THEN now() - interval '1 day' END
  FROM generate_series(1, %s) AS n
"""


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (lambda: Job.objects.filter(queue="default").scheduled(), SCHEDULED),
        (lambda: Job.objects.filter(queue="nobody's").scheduled(), 0),
        (Job.objects.scheduled, 2 * SCHEDULED),
    ],
    ids=["of a queue", "of a queue without", "of all queues"],
)
def test_few_scheduled_jobs_are_counted_among_many_waiting(
    rows: Callable[[], JobQuerySet], expected: int
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FILLED.replace("n % 2", "n %% 2").replace("n % 10", "n %% 10"), [SCHEDULED, WAITING])
        cursor.execute("ANALYZE")

    plans = Plans()
    with connection.execute_wrapper(plans):
        counted = state_counts.of_all({"scheduled": rows()})

    assert counted == {"scheduled": str(expected)}
    assert plans.read["jobs"] <= 10 * SCHEDULED, plans.read


def test_longest_wait_is_found_beside_many_scheduled_jobs() -> None:
    old = job(updated_at=Now() - timedelta(days=30))
    with connection.cursor() as cursor:
        cursor.execute(FILLED.replace("n % 2", "n %% 2").replace("n % 10", "n %% 10"), [WAITING, WAITING])
        cursor.execute("ANALYZE")

    plans = Plans()
    with connection.execute_wrapper(plans):
        first = waits.first("default")

    assert first == Job.objects.get(pk=old.pk).updated_at
    assert plans.read["jobs"] <= 10 * SCHEDULED, plans.read
