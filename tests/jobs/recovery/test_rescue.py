"""Tests of the plan of a rescue: it looks at the runs of its page, however many others run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from jobs.models import Job
from jobs.recovery import rescue
from jobs.recovery.decision import Policy, SweepAction, decide
from jobs.recovery.stale_pages import BEGINNING, StaleRuns

PAGE = 500
MANY_RUN = """
INSERT INTO jobs (customer_id, package_size, status, claimed_epoch, worker_id, started_at, updated_at)
SELECT 'CUST-1', 50, 'in_progress', 1, 'dead-' || n, now() - interval '1 hour', now() - interval '1 hour'
  FROM generate_series(1, 8000) AS n
"""


@pytest.mark.django_db
def test_rescue_does_not_read_all_that_runs() -> None:
    with connection.cursor() as cursor:
        cursor.execute(MANY_RUN)
        # Of a table of a few rows, what earlier tests left in its statistics decides.
        cursor.execute("ANALYZE jobs")
    policy = Policy(max_recoveries=3, queues=frozenset({"default"}), cutoff=None, forgiven_before=None)
    plans: list[str] = []

    def explained(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if "wanted" in sql:
            execute(f"EXPLAIN {sql}", params, many, context)
            plans.append("\n".join(line for (line,) in context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    with transaction.atomic():
        page = StaleRuns().lock(PAGE, BEGINNING)
        decisions = [decide(run, policy)._replace(action=SweepAction.REQUEUE) for run in page.held]
        with connection.execute_wrapper(explained):
            assert rescue.requeue(decisions) == set()
    assert Job.objects.filter(run_epoch=2).count() == PAGE
    [plan] = plans
    assert "jobs_pkey" in plan and "opsconsole_jobs_running_idx" not in plan and "on jobs job " in plan, plan
    assert "Seq Scan on jobs job" not in plan, plan
