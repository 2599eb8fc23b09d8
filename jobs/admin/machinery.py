"""Workers, sweeps, outgoing messages and queues: shown as they are, changed by nobody here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString

from jobs.admin import labels
from jobs.admin.changelist import CappedPaginator
from jobs.admin.page import MESSAGE_TONES
from jobs.models import Outbox, QueueState, Sweep, WorkerHeartbeat
from jobs.models.worker import silent_after, stale_after
from opsconsole.display import NOTHING, age, badge, pretty
from opsconsole.durations import spell
from opsconsole.readonly import ReadOnlyAdmin

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

# A sweep that has not ended by then was cut off: its process died.
UNFINISHED_AFTER = timedelta(minutes=5)


class _WithClock(ReadOnlyAdmin):
    """Rows carry ``db_now``, the database's time, so that ages don't depend on this host's clock."""

    sortable_by = ()
    paginator = CappedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(db_now=Now())
        return rows


class LifeFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: _ModelAdmin) -> Iterable[tuple[str, str]]:
        return [("alive", "Alive"), ("silent", "Silent"), ("dead", "Dead")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        workers = WorkerHeartbeat.objects
        match self.value():
            case "alive":
                return queryset.filter(pk__in=workers.alive().values("pk"))
            case "silent":
                return queryset.filter(pk__in=workers.silent().values("pk"))
            case "dead":
                return queryset.filter(pk__in=workers.dead().values("pk"))
        return queryset


@admin.register(WorkerHeartbeat)
class WorkerAdmin(_WithClock):
    list_display = ("worker_id", "state", "current_job", "run", "last_beat", "up_for", "host", "pid")
    list_filter = (LifeFilter,)
    ordering = ("-last_heartbeat", "worker_id")
    search_fields = ("worker_id__startswith",)
    search_help_text = "Beginning of a worker's id"
    fields = (
        "worker_id",
        "state",
        "current_job",
        "run",
        "last_heartbeat",
        "started_at",
        "hostname",
        "pid",
        "told",
    )

    @admin.display(description="state")
    def state(self, worker: Any) -> SafeString:
        silence = worker.db_now - worker.last_heartbeat
        if silence > stale_after():
            life = badge("Dead", "bad")
        elif silence > silent_after():
            life = badge("Silent", "warning")
        else:
            life = badge("Alive", "good")
        return life + badge("Old kind: no epochs") if _old_kind(worker) else life

    @admin.display(description="current job")
    def current_job(self, worker: WorkerHeartbeat) -> SafeString:
        return labels.job_link(worker.current_job_id) if worker.current_job_id else NOTHING

    @admin.display(description="run")
    def run(self, worker: WorkerHeartbeat) -> Any:
        return worker.current_run_epoch or NOTHING

    @admin.display(description="last beat")
    def last_beat(self, worker: Any) -> SafeString:
        return age(worker.last_heartbeat, worker.db_now, suffix=" ago")

    @admin.display(description="up for")
    def up_for(self, worker: Any) -> SafeString:
        return age(worker.started_at, worker.db_now)

    @admin.display(description="host")
    def host(self, worker: WorkerHeartbeat) -> Any:
        return worker.hostname or NOTHING

    @admin.display(description="metadata")
    def told(self, worker: WorkerHeartbeat) -> SafeString:
        return pretty(worker.metadata)


def _old_kind(worker: WorkerHeartbeat) -> bool:
    return worker.current_run_epoch is None and "protocol" not in (worker.metadata or {})


@admin.register(Sweep)
class SweepAdmin(_WithClock):
    list_display = (
        "when",
        "outcome",
        "found",
        "requeued",
        "quarantined",
        "skipped",
        "errors",
        "lost_resent",
        "took",
        "trigger",
        "note",
    )
    fields = (
        "trigger",
        "outcome",
        "started_at",
        "finished_at",
        "took",
        "found",
        "requeued",
        "quarantined",
        "skipped",
        "errors",
        "resent",
        "note",
        "lines",
    )

    @admin.display(description="when")
    def when(self, sweep: Any) -> SafeString:
        return age(sweep.started_at, sweep.db_now, suffix=" ago")

    @admin.display(description="outcome")
    def outcome(self, sweep: Any) -> SafeString:
        if sweep.finished_at is None:
            cut_off = sweep.db_now - sweep.started_at > UNFINISHED_AFTER
            return badge("Did not finish", "bad") if cut_off else badge("Running", "running")
        if sweep.errors:
            return badge("With errors", "bad")
        if sweep.mode != Sweep.Mode.ARMED:
            tone = "warning" if sweep.mode == Sweep.Mode.HELD else "waiting"
            return badge(sweep.get_mode_display().capitalize(), tone)
        return badge("Recovered", "good") if sweep.found else badge("Nothing found")

    @admin.display(description="re-sent")
    def lost_resent(self, sweep: Sweep) -> int:
        return sweep.resent

    @admin.display(description="took")
    def took(self, sweep: Sweep) -> Any:
        if sweep.duration is None:
            return NOTHING
        milliseconds = sweep.duration / timedelta(milliseconds=1)
        return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else spell(sweep.duration)

    @admin.display(description="what was skipped or failed")
    def lines(self, sweep: Sweep) -> SafeString:
        return pretty(sweep.details)


class MessageStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: _ModelAdmin) -> Iterable[tuple[str, str]]:
        return [(state.value, state.label.capitalize()) for state in Outbox.State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() in Outbox.State.values else queryset


@admin.register(Outbox)
class OutboxAdmin(_WithClock):
    list_display = (
        "number",
        "condition",
        "job_id_short",
        "run",
        "destination",
        "queue",
        "reason",
        "attempts",
        "written",
        "last_error",
    )
    list_filter = (MessageStateFilter,)
    ordering = ("-id",)
    fields = (
        "condition",
        # By its id: the label of the relation would read the row of a job that may be gone.
        "job_id_short",
        "run_epoch",
        "destination",
        "queue",
        "reason",
        "retry",
        "dead_letter_id",
        "created_at",
        "available_at",
        "attempts",
        "resends",
        "sent_at",
        "message_id",
        "last_error",
    )

    @admin.display(description="message")
    def number(self, message: Outbox) -> str:
        return f"#{message.pk}"

    @admin.display(description="state")
    def condition(self, message: Outbox) -> SafeString:
        _, tone = MESSAGE_TONES.get(message.state, ("", "quiet"))
        return badge(message.state.capitalize(), tone)

    @admin.display(description="job")
    def job_id_short(self, message: Outbox) -> SafeString:
        return labels.job_link(message.job_id)

    @admin.display(description="run")
    def run(self, message: Outbox) -> int:
        return message.run_epoch

    @admin.display(description="written")
    def written(self, message: Any) -> SafeString:
        return age(message.created_at, message.db_now, suffix=" ago")


@admin.register(QueueState)
class QueueStateAdmin(_WithClock):
    list_display = (
        "name",
        "condition",
        "visible",
        "in_flight",
        "delayed",
        "visibility_timeout",
        "read",
        "error",
    )
    ordering = ("name",)

    @admin.display(description="state")
    def condition(self, queue: QueueState) -> SafeString:
        if queue.read_at is None:
            return badge("Never read", "bad")
        return badge("Unknown", "bad") if queue.error else badge("Read", "good")

    @admin.display(description="visibility timeout")
    def visibility_timeout(self, queue: QueueState) -> Any:
        seconds = queue.visibility_timeout_seconds
        return NOTHING if seconds is None else spell(timedelta(seconds=seconds))

    @admin.display(description="last read")
    def read(self, queue: Any) -> SafeString:
        return age(queue.read_at, queue.db_now, suffix=" ago")
