"""Safe versions of django-q2's pages. The original ones let every viewer resubmit tasks and let editors choose the code that runs.

A schedule's ``func`` may be any importable callable, so permission to edit one would be permission to run anything.
These pages are read-only, except for pausing, resuming and running the schedules of our own table.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypedDict

import django_q.admin  # noqa: F401 - registers the original pages, which are replaced below
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Case, Func, IntegerField, QuerySet, TextField, Value, When
from django.db.models.functions import Cast, Now
from django.db.models.lookups import GreaterThan
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from django_stubs_ext import WithAnnotations

from opsconsole.cluster import failing_tasks, packages, schedules, task_values
from opsconsole.cluster.broker import REFUSED
from opsconsole.cluster.packages import PackageRefused
from opsconsole.kit import audit
from opsconsole.kit.counting import runs
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.durations import spell, unbroken
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import Question
from opsconsole.sign_in import lockouts

__all__ = ["lockouts"]  # imported for the page that it registers

RESULT_SHOWN = 160
LARGEST_VALUE = 50_000

for model in (Schedule, Success, Failure, OrmQ):
    admin.site.unregister(model)


class FailedRuns(TypedDict):
    failed_runs: int


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    shown_names = ("scheduled task", "scheduled tasks")
    list_display = ("title", "state", "every", "next", "why")
    # The fields of the package tell what they are for in the words of its own form, which is not offered here.
    fields = ("title", "state", "every", "next", "why", "function")
    ordering = ("name", "pk")
    sortable_by = ()
    actions = ("pause", "resume", "run_now")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Read with each schedule how many of its last runs failed, if it keeps failing."""
        rows = super().get_queryset(request)
        keep_failing = [
            When(name=task.entry.full_name, then=Value(task.runs)) for task in failing_tasks.failing()
        ]
        shown: QuerySet[Schedule] = rows.annotate(
            failed_runs=Case(*keep_failing, default=Value(0), output_field=IntegerField())
        )
        return shown

    @admin.display(description="schedule")
    def title(self, schedule: Schedule) -> str:
        return schedules.shown_name(schedule)

    @admin.display(description="state")
    def state(self, schedule: WithAnnotations[Schedule, FailedRuns]) -> SafeString:
        if schedules.entry_of(schedule) is None:
            return badge("Refused: not in the task table", "bad")
        if schedule.repeats == schedules.PAUSED:
            return badge("Paused", "warning")
        if failed := schedule.failed_runs:
            return badge(f"Fails: the last {runs(failed)}", "bad")
        return badge("On", "good")

    @admin.display(description="every")
    def every(self, schedule: Schedule) -> str:
        if schedule.schedule_type == Schedule.MINUTES and schedule.minutes:
            return unbroken(spell(timedelta(minutes=schedule.minutes)))
        return str(schedule.get_schedule_type_display())

    @admin.display(description="next run")
    def next(self, schedule: Schedule) -> SafeString:
        if schedule.repeats == schedules.PAUSED or schedule.next_run is None:
            return NOTHING
        due = schedule.next_run <= timezone.now()
        return format_html("{} overdue" if due else "{}", age(schedule.next_run))

    @admin.display(description="what it does")
    def why(self, schedule: Schedule) -> str:
        entry = schedules.entry_of(schedule)
        return entry.why if entry else f"nothing: the cluster does not run {schedule.func}"

    @admin.display(description="function")
    def function(self, schedule: Schedule) -> SafeString:
        return _dotted(schedule.func)

    def title_of(self, row: Schedule) -> str:
        return f"Scheduled task {self.title(row)}"

    def applies(self, action: str, row: Schedule) -> bool:
        return schedules.entry_of(row) is not None and (action == "resume") == (
            row.repeats == schedules.PAUSED
        )

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("opsconsole.pause_schedule") and self.has_view_permission(request)

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("opsconsole.run_schedule") and self.has_view_permission(request)

    @admin.action(description="Pause", permissions=["pause"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse | None:
        return self._steer(
            request, queryset.exclude(repeats=schedules.PAUSED), "pause", repeats=schedules.PAUSED
        )

    @admin.action(description="Resume", permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse | None:
        return self._steer(
            request, queryset.filter(repeats=schedules.PAUSED), "resume", repeats=schedules.FOR_EVER
        )

    @admin.action(description="Run now", permissions=["run"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse | None:
        chosen = queryset.exclude(repeats=schedules.PAUSED)
        return self._steer(request, chosen, "run_now", next_run=Now())

    @transaction.atomic
    def _steer(
        self, request: HttpRequest, queryset: QuerySet[Schedule], action: str, **changes: Any
    ) -> HttpResponse | None:
        """Ask for a reason, then change the console's own schedules that are still in the chosen state."""
        chosen = [row for row in locked(queryset, of=("self",)) if schedules.entry_of(row)]
        if not chosen:
            messages.warning(
                request, "None of these schedules can be changed in this way. Nothing was changed."
            )
            return None
        label = action.replace("_", " ").capitalize()
        question = Question(action=action, title=f"{label}?", button=label, seen=_seen)
        reason = self.ask_why(request, question, [(row, schedules.shown_name(row)) for row in chosen])
        if not isinstance(reason, str):
            return reason
        changed = [row for row in chosen if queryset.filter(pk=row.pk).update(**changes)]
        audit.log(request.user, changed, f"{label}.", why=reason)
        messages.success(
            request, f"{label}: {', '.join(map(schedules.shown_name, changed)) or 'nothing was changed'}."
        )
        return None


def _seen(schedule: Schedule) -> dict[str, object]:
    return {"paused": schedule.repeats == schedules.PAUSED, "every": schedule.minutes}


class PackageAdmin(ReadOnlyAdmin):
    """Pages without the help texts of the package, which tell programmers what to pass."""

    def get_form(self, request: HttpRequest, obj: Any = None, *args: Any, **kwargs: Any) -> Any:
        no_help = {each.name: "" for each in self.opts.fields}
        return super().get_form(request, obj, *args, **kwargs, help_texts=no_help)


class TaskAdmin(PackageAdmin):
    list_display = ("name", "group", "function", "begun", "took")
    search_fields = ("name__startswith", "func__startswith", "group__startswith")
    sortable_by = ()
    fields = (
        "id",
        "name",
        "group",
        "function",
        "arguments",
        "keywords",
        "started",
        "stopped",
        "attempt_count",
        "outcome",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """Read the stored text of a task's values, and only up to a size, because lists read it for each row."""
        tasks = super().get_queryset(request).defer(*task_values.COLUMNS)
        shown: QuerySet[Task] = tasks.annotate(
            **{f"small_{name}": _small(name) for name in task_values.COLUMNS},
            **{f"{name}_bytes": _bytes_of(name) for name in task_values.COLUMNS},
        )
        return shown

    def title_of(self, row: Task) -> str:
        return f"{capfirst(self.one)} {row.name}"

    @admin.display(description="function")
    def function(self, task: Task) -> SafeString:
        return _dotted(task.func)

    @admin.display(description="started")
    def begun(self, task: Task) -> SafeString:
        return age(task.started, suffix=" ago")

    @admin.display(description="took")
    def took(self, task: Task) -> str:
        return unbroken(f"{task.time_taken():.2f} s")

    @admin.display(description="result")
    def outcome(self, task: Task) -> str:
        return _shown(task, "result")

    @admin.display(description="arguments")
    def arguments(self, task: Task) -> str:
        return _shown(task, "args")

    @admin.display(description="keyword arguments")
    def keywords(self, task: Task) -> str:
        return _shown(task, "kwargs")


def _bytes_of(column: str) -> Func:
    return Func(column, function="octet_length", output_field=IntegerField())


def _small(column: str) -> Case:
    """Return the text of a column as the database has it, or NULL when it is large."""
    return Case(When(GreaterThan(LARGEST_VALUE, _bytes_of(column)), then=Cast(column, TextField())))


def _shown(task: Task, name: str) -> str:
    size: int | None = getattr(task, f"{name}_bytes")
    if size is not None and size >= LARGEST_VALUE:
        return f"too large to show ({size:,} bytes)"
    value = task_values.read(getattr(task, f"small_{name}"))
    return "none" if value in (None, "", [], {}) else str(value)


@admin.register(Success)
class SuccessAdmin(TaskAdmin):
    shown_names = ("successful task", "successful tasks")


@admin.register(Failure)
class FailureAdmin(TaskAdmin):
    shown_names = ("failed task", "failed tasks")
    list_display = ("name", "group", "function", "begun", "shortly")

    @admin.display(description="error")
    def shortly(self, task: Task) -> str:
        return self.outcome(task)[:RESULT_SHOWN]


@admin.register(OrmQ)
class QueuedAdmin(PackageAdmin):
    shown_names = ("queued task", "queued tasks")
    list_display = ("id", "task_name", "called", "key", "lock_age")
    fields = ("id", "task_name", "called", "key", "lock")
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrmQ]:
        queued = super().get_queryset(request).defer("payload")
        shown: QuerySet[OrmQ] = queued.annotate(small_payload=_small("payload"))
        return shown

    @admin.display(description="name")
    def task_name(self, queued: OrmQ) -> str | SafeString:
        if queued.key == REFUSED:
            return badge("Refused", "bad")
        return _value_of(queued, "name")

    @admin.display(description="function")
    def called(self, queued: OrmQ) -> SafeString:
        return _dotted(_value_of(queued, "func"))

    @admin.display(description="lock")
    def lock_age(self, queued: OrmQ) -> SafeString:
        return age(queued.lock, suffix=" ago")


def _dotted(name: str) -> SafeString:
    """Return the name of a function for a narrow column, which breaks it after dots."""
    return format_html_join(SafeString(".<wbr>"), "{}", ((part,) for part in str(name).split(".")))


def _value_of(queued: OrmQ, name: str) -> str:
    """Return a value of a queued task, or why the cluster would not run it."""
    try:
        return str(packages.unpack(queued.small_payload or "")[name])
    except PackageRefused as error:
        return str(error)
