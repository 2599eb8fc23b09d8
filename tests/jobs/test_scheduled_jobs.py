"""Jobs that wait for their time are found by an index of theirs, however many others wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from jobs.admin import state_counts
from jobs.admin.queues import queue_page
from jobs.intake import queue_position, waits
from jobs.messaging import dispatcher
from jobs.messaging.leases import LEASE
from jobs.models import Job, MessageTrouble, Outbox, QueueState
from jobs.models.job import JobQuerySet
from jobs.models.outbox import TRIED_AGAIN_WITHIN
from jobs.recovery import lost_messages, waiting
from jobs.watch import worker_gauges
from opsconsole.kit import counting, one_statement
from opsconsole_worker.environment import QueueConfig
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


@pytest.fixture
def old(settings: Any) -> Job:
    """Create a job that waits among many that are scheduled, each with a message that is held, and another one."""
    settings.QUEUES = {name: QueueConfig(name, f"https://sqs.fake/{name}", None) for name in ("default", "x")}
    QueueState.objects.create(name="default", visible=1, in_flight=0, delayed=0, read_at=Now())
    QueueState.objects.create(name="x", visible=0, in_flight=0, delayed=0, read_at=Now())
    made = job(updated_at=Now() - timedelta(days=30))
    job(updated_at=Now() - timedelta(days=30), queue="x")
    with connection.cursor() as cursor:
        cursor.execute(FILLED.replace("n % 2", "n %% 2").replace("n % 10", "n %% 10"), [WAITING, WAITING])
        cursor.execute(
            "INSERT INTO outbox (job_id, run_epoch, available_at) SELECT id, 1, not_before FROM jobs WHERE not_before > now()"
        )
        cursor.execute("ANALYZE")
        # PostgreSQL would rather read the whole of so small a table.
        for way in ("seqscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
    return made


def position() -> list[int | None]:
    return [place.position for place in queue_position.of_customer("TEST-001")]


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda: min(waits.firsts("default"))[0] == Job.objects.get(customer_id="TEST-001", queue="default").updated_at, True),
        (lambda: counting.count(waits.by_index(Job.objects.all())), 2),
        (lambda: counting.count(waits.by_index(Job.objects.all(), least=timedelta(days=29))), 2),
        (lambda: state_counts.of_all({"waiting": waits.by_index(Job.objects.filter(queue="x"))}), {"waiting": "1"}),
        (lambda: one_statement.read(since=waits.oldest())["since"] == min(waits.firsts("default"))[0], True),
        (worker_gauges.jobs_without_workers, 2),
        (position, [1, 1]),
        (lambda: [lost.queue for lost in lost_messages.find(10)], ["x"]),
        (lambda: counting.count(waiting.having(MessageTrouble.LOST)), 1),
        (lambda: counting.count(Outbox.objects.stuck()), 0),
        (lambda: counting.count(waiting.having(MessageTrouble.UNSENT)), 0),
    ],
    ids=[
        "longest wait", "waiting", "waiting for long", "waiting of a queue", "longest wait of all", "without workers",
        "position", "lost messages to re-send", "lost messages", "stuck messages", "unsent messages",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("old")
def test_few_waiting_jobs_are_found_among_many_scheduled(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[], Any], expected: Any
) -> None:
    monkeypatch.setattr(worker_gauges, "workers_are_seen", lambda: True)
    plans = Plans()
    with connection.execute_wrapper(plans):
        assert ask() == expected
    assert plans.read["jobs"] <= 10 * SCHEDULED, plans.read
    assert plans.read["outbox"] <= 10 * SCHEDULED, plans.read


def test_messages_that_were_tried_are_due_soon() -> None:
    """Where they are looked for."""
    assert max(dispatcher.LONGEST_BACKOFF * 1.1, LEASE) < TRIED_AGAIN_WITHIN


def test_page_of_a_queue_reads_few_rows_among_many_scheduled(old: Job) -> None:
    plans = Plans()
    with connection.execute_wrapper(plans):
        page = queue_page._jobs(old.queue)
    assert [figure.number for figure in page["depth"]] == ["1", "1,000+", "0"]
    assert [figure.number for figure in page["ages"]] == ["0", "0", "0", "0", "0", "1"]
    assert page["oldest"] == old.updated_at
    assert plans.read["jobs"] <= state_counts.COUNTED_TO + 10 * SCHEDULED, plans.read
