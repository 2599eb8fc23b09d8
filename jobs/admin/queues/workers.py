"""The list of workers: alive, silent or dead, with their current runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin import labels
from jobs.admin.heartbeat_traits import traits_for
from jobs.admin.known_choices import Choices, KnownFilter, ModelAdmin
from jobs.models import JobEvent, WorkerHeartbeat, WorkerObservation
from jobs.models.worker import Life, WorkerHeartbeatQuerySet
from jobs.runs import runs_of_worker, worker_kinds
from jobs.runs.runs_of_worker import WorkerRun
from opsconsole.kit.bounded_columns import is_cut
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.display import NOTHING, age, badge, pretty, rough, whole_link
from opsconsole.kit.durations import unbroken
from opsconsole.kit.whole_columns import WholeColumns

LIFE_TONES = {Life.ALIVE: "good", Life.SILENT: "warning", Life.DEAD: "bad", Life.ENDED: "quiet"}


class SeenWorker(DbNow):
    """What the list adds to each row: when its heartbeat counts, whether its run is over, and how its clock is off."""

    counted_at: datetime
    run_is_over: bool
    clock_offset: timedelta | None


class LifeFilter(KnownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return Life.choices

    def apply(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        workers = WorkerHeartbeat.objects
        lives = {
            Life.ALIVE: workers.alive,
            Life.SILENT: workers.silent,
            Life.DEAD: workers.dead,
            Life.ENDED: workers.ended,
        }
        return rows.filter(pk__in=lives[Life(value)]().values("pk"))


@admin.register(WorkerHeartbeat)
class WorkerAdmin(WholeColumns, AgedAdmin):
    when_empty = "A worker appears with its first heartbeat: docs/workers.md shows what to write."
    recorded_at = "What it did to a job is on the timeline of that job."
    live_on = ("jobs.WorkerHeartbeat", "jobs.WorkerObservation", "jobs.JobEvent")
    whole_columns = ("worker_id", "hostname", "metadata")
    # The metadata names the runs of earlier heartbeats.
    quotes = MappingProxyType(
        dict.fromkeys(("current_job", "run", "did", "jobs", "shown_metadata", "metadata"), ("jobs_job",))
    )
    list_display = ("worker_id", "state", "current_job", "run", "last_beat", "up_for", "host", "pid", "clock")
    list_filter = (LifeFilter,)
    # A row per worker: the whole table can be sorted.
    sortable_by = ("worker_id", "last_beat", "up_for", "host")
    search_fields = ("worker_id__startswith",)
    search_help_text = "The beginning of a worker's id"
    fieldsets = (
        ("What it does now", {"fields": ("state", "current_job", "run", "last_beat", "clock")}),
        ("Who it is", {"fields": ("worker_id", "hostname", "pid", "up_for", "kind")}),
        ("Runs it did", {"fields": ("did", "jobs")}),
        ("What it says of itself", {"fields": ("shown_metadata",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        workers = cast(WorkerHeartbeatQuerySet, super().get_queryset(request))
        seen = WorkerObservation.objects.clock_off().filter(pk=OuterRef("pk"))
        # A column that somebody sorts by comes before this order.
        return workers.worst_first().annotate(clock_offset=Subquery(seen.values("clock_offset")))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        traits = traits_for(request.user)
        return super().changelist_view(request, {"traits": traits} | (extra_context or {}))

    @admin.display(description="state")
    def state(self, worker: WithAnnotations[WorkerHeartbeat, SeenWorker]) -> SafeString:
        life = worker.life(worker.db_now)
        state = badge(life.label, LIFE_TONES[life])
        return state + badge("Old kind: no epochs") if worker.is_of_old_kind else state

    @admin.display(description="kind")
    def kind(self, worker: WorkerHeartbeat) -> str:
        """Say what the console can promise about its runs."""
        if worker.is_of_old_kind:
            return (
                "Old kind: it names no epochs, so a job may run more than once, and it can't be told to stop."
            )
        return "It claims runs by the console's protocol: one worker per run, late results are refused."

    @admin.display(description="jobs")
    def jobs(self, worker: WorkerHeartbeat) -> SafeString:
        query = urlencode({"worker": worker.worker_id})
        url = f"{reverse('admin:jobs_job_changelist')}?{query}"
        return format_html('<a href="{}">Show the jobs whose last run it did</a>', url)

    @admin.display(description="current job")
    def current_job(self, worker: WithAnnotations[WorkerHeartbeat, SeenWorker]) -> SafeString:
        if worker.run_is_over and worker.life(worker.db_now) == Life.ENDED:
            return NOTHING
        return labels.job_link(worker.current_job_id) if worker.current_job_id else NOTHING

    @admin.display(description="run")
    def run(self, worker: WorkerHeartbeat) -> int | SafeString:
        return worker.current_run_epoch or NOTHING

    @admin.display(description="last beat", ordering="last_heartbeat")
    def last_beat(self, worker: WithAnnotations[WorkerHeartbeat, SeenWorker]) -> SafeString:
        return age(worker.counted_at, worker.db_now, suffix=" ago")

    @admin.display(description="up for", ordering="-started_at")
    def up_for(self, worker: WithAnnotations[WorkerHeartbeat, SeenWorker]) -> SafeString:
        """Return how long the worker has been up; one that is gone was up until its last heartbeat."""
        gone = worker.life(worker.db_now) in {Life.DEAD, Life.ENDED}
        return age(worker.started_at, worker.counted_at if gone else worker.db_now)

    @admin.display(description="clock")
    def clock(self, worker: WithAnnotations[WorkerHeartbeat, SeenWorker]) -> SafeString:
        offset = worker.clock_offset
        return badge(worker_kinds.offset_in_words(offset).capitalize(), "warning") if offset else NOTHING

    @admin.display(description="host", ordering="hostname")
    def host(self, worker: WorkerHeartbeat) -> str:
        return worker.hostname or NOTHING

    @admin.display(description="newest runs")
    def did(self, worker: WithAnnotations[WorkerHeartbeat, SeenWorker]) -> SafeString:
        runs = runs_of_worker.newest(worker.worker_id)
        if not runs:
            return format_html(
                '<span class="quiet">none among the newest {} events of all jobs</span>',
                f"{runs_of_worker.EVENTS_READ:,}",
            )
        lines = format_html_join("", "<li>{}</li>", ((_run(run, worker),) for run in runs))
        return format_html('<ol class="notes">{}</ol>', lines)

    @admin.display(description="metadata")
    def shown_metadata(self, worker: WorkerHeartbeat) -> SafeString:
        if not is_cut(worker.metadata):
            return pretty(worker.metadata) if worker.metadata else NOTHING
        return pretty(worker.metadata) + whole_link("jobs_workerheartbeat_whole", worker.pk, "metadata")


def _run(run: WorkerRun, worker: WithAnnotations[WorkerHeartbeat, SeenWorker]) -> SafeString:
    """Return one run in a line: its job, when it ended and how, and how long it took."""
    is_current = (run.job_id, run.run) == (worker.current_job_id, worker.current_run_epoch)
    parts = [
        labels.job_link(run.job_id),
        format_html('<span class="run">run {}</span>', run.run or "unknown"),
    ]
    if run.ended_as is None and is_current and worker.life(worker.db_now) in {Life.ALIVE, Life.SILENT}:
        parts.append(badge("Its current run", "running"))
    elif run.ended_as is None:
        parts.append(badge("No result from this worker"))
    else:
        tone = labels.EVENT_TONES.get(run.ended_as, "quiet")
        parts.append(badge(JobEvent.Kind(run.ended_as).label.capitalize(), tone))
    parts.append(age(run.ended_at or run.began_at, worker.db_now, suffix=" ago"))
    if run.began_at and run.ended_at:
        parts.append(
            format_html('<span class="quiet">ran {}</span>', unbroken(rough(run.ended_at - run.began_at)))
        )
    return format_html_join(" ", "{}", ((part,) for part in parts))
