"""Scheduled tasks that keep failing: which, how often in a row, with what error. The alert, ``verify`` and the schedules tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Max, Min, Q
from django_q.models import Failure, Task

from alerts import notify
from alerts.trouble import Trouble
from opsconsole.cluster import task_table
from opsconsole.cluster.task_table import ScheduledTask
from opsconsole.kit import addresses
from opsconsole.kit.counting import exactly, plural, runs

RULE = "failing_tasks"
# One failure may be a moment in which the database was away; the next turn of the task makes up for it.
IN_A_ROW = 2
MOST_NAMED = 5
ERROR_SHOWN = 300
TRACEBACK = ": Traceback (most recent call last):"


@dataclass(frozen=True)
class FailingTask:
    """A task whose last ``runs`` runs failed, since ``since``, the last of them with ``error``."""

    entry: ScheduledTask
    runs: int
    since: datetime
    error: str

    @property
    def sentence(self) -> str:
        return f"{runs(self.runs)} in a row failed since {self.since:%Y-%m-%d %H:%M} UTC: {self.error}"


def failing() -> list[FailingTask]:
    """Return the scheduled tasks whose last runs failed, in the order of the table."""
    entries = {entry.full_name: entry for entry in task_table.table()}
    since_success = _since_success(list(entries))
    if not since_success:
        return []
    failures = Failure.objects.filter(_any(since_success)).order_by()
    in_a_row = failures.values("group").annotate(runs=Count("pk"), since=Min("started"))
    runs_by_name = {row["group"]: row for row in in_a_row.filter(runs__gte=IN_A_ROW)}
    newest = failures.filter(group__in=runs_by_name).order_by("group", "-stopped").distinct("group")
    errors = dict(newest.values_list("group", "result"))
    return [
        FailingTask(
            entry, runs_by_name[name]["runs"], runs_by_name[name]["since"], _shortly(errors.get(name))
        )
        for name, entry in entries.items()
        if name in runs_by_name
    ]


def watch() -> str:
    """Measure how many tasks keep failing, for their rule."""
    tasks = failing()
    notify.measure(RULE, len(tasks), trouble_of(tasks))
    return headline(tasks)


def trouble_of(tasks: list[FailingTask]) -> Trouble:
    """Return the words of the alert: which tasks, what each of them should do, and its last error."""
    named = tasks[:MOST_NAMED]
    return Trouble(
        title=headline(tasks),
        summary=" ".join(f"'{task.entry.name}' should {task.entry.why}." for task in named),
        link=addresses.of_list("django_q_failure"),
        facts=[(task.entry.name, task.sentence) for task in named],
    )


def headline(tasks: list[FailingTask]) -> str:
    if not tasks:
        return "no scheduled task keeps failing"
    names = ", ".join(f"'{task.entry.name}'" for task in tasks[:MOST_NAMED])
    more = ", ..." * (len(tasks) > MOST_NAMED)
    return f"{exactly(len(tasks), 'scheduled task')} {plural(len(tasks), 'keeps', 'keep')} failing: {names}{more}"


def _shortly(result: object) -> str:
    """Return the first line of what django-q2 kept: the error's text, and its traceback behind it."""
    first = str(result or "").strip().partition("\n")[0]
    return first.removesuffix(TRACEBACK).strip()[:ERROR_SHOWN] or "it said nothing"


def _since_success(names: list[str]) -> dict[str, datetime | None]:
    """Return the tasks that failed after their last success, with the time of it; None where none is known."""
    ended = Task.objects.filter(group__in=names).order_by().values("group")
    last = ended.annotate(
        succeeded=Max("stopped", filter=Q(success=True)), failed=Max("stopped", filter=Q(success=False))
    )
    troubled = last.filter(Q(failed__gt=F("succeeded")) | Q(succeeded=None, failed__isnull=False))
    return dict(troubled.values_list("group", "succeeded"))


def _any(since_success: dict[str, datetime | None]) -> Q:
    each = (
        Q(group=name) if succeeded is None else Q(group=name, stopped__gt=succeeded)
        for name, succeeded in since_success.items()
    )
    return Q(*each, _connector=Q.OR)
