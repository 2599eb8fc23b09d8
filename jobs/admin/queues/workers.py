"""The list of workers: alive, silent or dead, with their current runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin import labels
from jobs.admin.known_choices import Choices, KnownFilter, ModelAdmin
from jobs.models import WorkerHeartbeat
from jobs.models.worker import Life
from opsconsole.kit.bounded_columns import is_cut
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.display import NOTHING, age, badge, pretty, whole_link
from opsconsole.kit.whole_columns import WholeColumns

LIFE_TONES = {Life.ALIVE: "good", Life.SILENT: "warning", Life.DEAD: "bad"}


class LifeFilter(KnownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return Life.choices

    def apply(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        workers = WorkerHeartbeat.objects
        lives = {Life.ALIVE: workers.alive, Life.SILENT: workers.silent, Life.DEAD: workers.dead}
        return rows.filter(pk__in=lives[Life(value)]().values("pk"))


@admin.register(WorkerHeartbeat)
class WorkerAdmin(WholeColumns, AgedAdmin):
    whole_columns = ("worker_id", "hostname", "metadata")
    list_display = ("worker_id", "state", "current_job", "run", "last_beat", "up_for", "host", "pid")
    list_filter = (LifeFilter,)
    ordering = ("-last_heartbeat", "worker_id")
    search_fields = ("worker_id__startswith",)
    search_help_text = "The beginning of a worker's id"
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
    def state(self, worker: WithAnnotations[WorkerHeartbeat, DbNow]) -> SafeString:
        life = worker.life(worker.db_now)
        state = badge(life.label, LIFE_TONES[life])
        return state + badge("Old kind: no epochs") if worker.is_of_old_kind else state

    @admin.display(description="current job")
    def current_job(self, worker: WorkerHeartbeat) -> SafeString:
        return labels.job_link(worker.current_job_id) if worker.current_job_id else NOTHING

    @admin.display(description="run")
    def run(self, worker: WorkerHeartbeat) -> int | SafeString:
        return worker.current_run_epoch or NOTHING

    @admin.display(description="last beat")
    def last_beat(self, worker: WithAnnotations[WorkerHeartbeat, DbNow]) -> SafeString:
        return age(worker.last_heartbeat, worker.db_now, suffix=" ago")

    @admin.display(description="up for")
    def up_for(self, worker: WithAnnotations[WorkerHeartbeat, DbNow]) -> SafeString:
        return age(worker.started_at, worker.db_now)

    @admin.display(description="host")
    def host(self, worker: WorkerHeartbeat) -> str:
        return worker.hostname or NOTHING

    @admin.display(description="metadata")
    def told(self, worker: WorkerHeartbeat) -> SafeString:
        if not is_cut(worker.metadata):
            return pretty(worker.metadata)
        return pretty(worker.metadata) + whole_link("jobs_workerheartbeat_whole", worker.pk, "metadata")
