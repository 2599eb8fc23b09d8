"""What is measured while the tables grow: every page, the sweep, and each scheduled task that asks the database alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from alerts import tasks as alert_tasks
from bench import growth_data, growth_figures, pages, pages_asked
from bench.plans import Plan, Plans
from jobs import tasks
from jobs.models import RunRollupState, Sweep
from jobs.recovery import sweeps
from opsconsole.cluster import tasks as cluster_tasks
from opsconsole.retention import tasks as retention_tasks
from opsconsole.trends import rollup
from ratelimits import tasks as limit_tasks

PAGE = "page: "
Operation = Callable[[], Any]
FINDING, SWEEP = "finding a page of stale runs (server time)", "a sweep that recovers 100 stale runs"
# The statement that locks a page of stale runs.
FINDS = "SKIP LOCKED"


def operations(client: Any, url: str) -> dict[str, Operation]:
    """Return what to measure, by name."""
    return {
        **{f"{PAGE}{name}": _page(client, name, address) for name, address in pages_asked.pages().items()},
        "find_stale_jobs()": _find_stale_jobs,
        SWEEP: _sweep,
        "a sweep that finds none": _sweep_of_none,
        "task: watch the figures": tasks.watch,
        "task: count the hours": tasks.count_hours,
        "task: count the runs of 2,000 events": _count_runs,
        "task: remove old rows": tasks.prune,
        "task: remove old alerts": alert_tasks.prune,
        "task: judge the monitors": alert_tasks.judge_monitors,
        "task: watch the limits": limit_tasks.watch,
        "task: remove old records of requests": limit_tasks.cleanup,
        "task: remove old lines of the audit": retention_tasks.delete_audit_lines,
        "task: sizes of tables": retention_tasks.sample_sizes,
        "task: remove ended log-ins": cluster_tasks.delete_outdated_log_ins,
    }


def prepare(name: str, url: str) -> None:
    """Do what must be done before each turn and is not measured."""
    if name == SWEEP:
        growth_data.settle(url)
    if name.removeprefix(PAGE) in pages.FORGETFUL:
        pages.forget()


def reads_a_cache(name: str) -> bool:
    """Tell whether the work is measured with what an earlier turn in the same database cached."""
    return name.startswith(PAGE) and name.removeprefix(PAGE) not in pages.FORGETFUL


def finding(plans: Plans) -> Plan:
    """Return the plan of the statement that locks a page of stale runs."""
    plan = plans.with_(FINDS)
    assert plan, "the sweep locked no page"
    return plan


def _page(client: Any, name: str, address: str) -> Operation:
    def ask() -> None:
        response = client.get(address)
        assert response.status_code == 200, (name, address, response.status_code)
        assert response.content

    return ask


def _find_stale_jobs() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM find_stale_jobs(now() - interval '10 minutes')")
        cursor.fetchall()


def _count_runs() -> None:
    """Count a seal of a backlog, of the same events at every size, and take it back."""
    rollup.MOST_EVENTS = growth_figures.EVENTS
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(growth_figures.RECENT_SEAL)
        [recent] = cursor.fetchone()
        RunRollupState.objects.update(seal=recent - 1)
        turn = rollup.count(timedelta(0))
        assert (turn.seals, turn.busy) == (1, False), str(turn)
        assert turn.runs > 1_000, str(turn)
        transaction.set_rollback(True)


def _sweep() -> None:
    row = sweeps.sweep("bench")
    assert (row.requeued, row.errors) == (growth_data.STALE, 0), (
        row.mode,
        row.found,
        row.requeued,
        row.errors,
    )


def _sweep_of_none() -> None:
    row = sweeps.sweep("bench")
    assert (row.mode, row.found, row.errors) == (Sweep.Mode.ARMED, 0, 0), (row.mode, row.found, row.errors)
