"""The jobs list, the page of each job, and the three operations."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import labels, run_progress, sorting
from jobs.admin.job_search import search
from jobs.admin.jobs import enqueue_page, payload_page
from jobs.admin.jobs.changelist import JobChangeList, JobPaginator, ShownJob
from jobs.admin.jobs.filters import (
    AgeFilter,
    LostWorkerFilter,
    PriorityFilter,
    StaleFilter,
    StatusFilter,
    UnindexedQueueFilter,
)
from jobs.admin.jobs.job_actions import PlannedJobs
from jobs.admin.jobs.job_page import job_page
from jobs.admin.jobs.message_filter import MessageFilter
from jobs.admin.jobs.sorting import JobOrder
from jobs.admin.jobs.typed_filters import (
    CreatedBeforeFilter,
    CreatedSinceFilter,
    CustomerFilter,
    ErrorFilter,
    FailureGroupFilter,
    FinishedBeforeFilter,
    FinishedSinceFilter,
    WorkerFilter,
)
from jobs.intake import waits
from jobs.models import Job, JobEvent, Status
from jobs.models.job import JobQuerySet, JobWithEvidence
from jobs.operations.steps import JobAction
from jobs.runs.diagnosis import diagnose
from opsconsole.kit import addresses, audit, job_ids
from opsconsole.kit.display import NOTHING, age
from opsconsole.kit.read_only_admin import PageAdmin
from opsconsole.kit.whole_columns import WholeColumns, download

EVENT_COLUMNS = ("reason", "details")
# Their rows say why, so that nobody opens each of them.
FAILURES = (Status.FAILED, Status.QUARANTINED)
# In characters.
ERROR_LISTED = 80
# In characters, of the name of a queue in an address.
MOST_OF_NAME = 500


@admin.register(Job)
class JobAdmin(PlannedJobs, WholeColumns, PageAdmin[JobWithEvidence]):
    when_empty = (
        "A producer inserts a row into the table and sends its message; enqueue_jobs does both to try it."
    )
    missing = "There is no job with this id."
    history_at = "#timeline"
    live_on = (
        "jobs.Job",
        "jobs.WorkerHeartbeat",
        "jobs.JobEvent",
        "jobs.Outbox",
        "jobs.QueueState",
        "jobs.RunProgress",
        "jobs.BulkOperation",
    )
    whole_columns = ("customer_id", "error_message", "payload")
    list_display = (
        "short_id",
        "customer",
        "state",
        "priority_level",
        "created",
        "last_beat",
        "worker",
        "run",
        "recovery_count",
    )
    list_display_links = None
    list_filter = (
        JobOrder,
        StatusFilter,
        StaleFilter,
        LostWorkerFilter,
        MessageFilter,
        PriorityFilter,
        AgeFilter,
        UnindexedQueueFilter,
        FailureGroupFilter,
        CustomerFilter,
        WorkerFilter,
        ErrorFilter,
        CreatedSinceFilter,
        CreatedBeforeFilter,
        FinishedSinceFilter,
        FinishedBeforeFilter,
    )
    # By a column in both directions: the time of creation, of which there is an index. Other orders are in the menu.
    sortable_by = ("created",)
    # Not used as fields: they only show the search box; ``get_search_results`` does the search.
    search_fields = ("id",)
    search_help_text = "Job id, its first 8 characters, or customer id"
    paginator = JobPaginator
    actions = ("requeue_selected", "cancel_selected", "release_selected")

    @admin.display(description="job")
    def short_id(self, job: Job) -> SafeString:
        return labels.job_link(job.pk)

    @admin.display(description="customer")
    def customer(self, job: Job) -> str | SafeString:
        return labels.customer_link(job)

    @admin.display(description="status")
    def state(self, job: ShownJob) -> SafeString:
        state = labels.job_status(job, job.read_at) + labels.trouble(diagnose(job))
        if job.status == Status.IN_PROGRESS and job.percent is not None:
            state += SafeString(" ") + run_progress.bar(job.percent)
        if job.status in FAILURES and (error := labels.error_line(job.error_message, ERROR_LISTED)):
            state += format_html('<span class="listed-error">{}</span>', error)
        return state + labels.message_trouble(job.message_trouble) if job.message_trouble else state

    @admin.display(description="age", ordering="created_at")
    def created(self, job: ShownJob) -> SafeString:
        return age(job.created_at, job.read_at)

    @admin.display(description="last beat")
    def last_beat(self, job: ShownJob) -> SafeString:
        return age(job.beat_at, job.read_at, suffix=" ago") if job.status == Status.IN_PROGRESS else NOTHING

    @admin.display(description="worker")
    def worker(self, job: Job) -> str | SafeString:
        return job.worker_id or NOTHING

    @admin.display(description="run")
    def run(self, job: Job) -> int:
        return job.run_epoch

    @admin.display(description="waits for")
    def waited(self, job: ShownJob) -> SafeString:
        waits_for_worker = job.status == Status.PENDING and not job.is_scheduled(job.read_at)
        return age(waits.since(job), job.read_at) if waits_for_worker else NOTHING

    @admin.display(description="ran for")
    def ran(self, job: ShownJob) -> SafeString:
        """Say how long its last run took, or takes so far."""
        ended = job.read_at if job.status == Status.IN_PROGRESS else job.completed_at
        return age(job.started_at, ended) if job.started_at and ended else NOTHING

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Show what the list is sorted by in place of the last column."""
        columns = super().get_list_display(request)
        order = sorting.chosen_by(request, JobOrder)
        return [*columns[:-1], order.column] if order else columns

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[JobChangeList]:
        return JobChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[JobQuerySet, bool]:
        return search(queryset, search_term), False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.event_view)
        one = path("events/<int:event_id>/<str:column>/", view, name="jobs_jobevent_whole")
        return [
            one,
            path("enqueue/", self.admin_site.admin_view(self.enqueue_view), name="jobs_job_enqueue"),
            # No path: it would take "7/whole/payload/", the download of a column of this name.
            path(
                "<str:key>/payload/", self.admin_site.admin_view(self.payload_view), name="jobs_job_payload"
            ),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "may_enqueue": self._may_enqueue(request),
            "queue_chosen": request.GET.get("queue", "")[:MOST_OF_NAME],
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def enqueue_view(self, request: HttpRequest) -> HttpResponse:
        if not self._may_enqueue(request):
            raise PermissionDenied
        return enqueue_page.view(self, request)

    def _may_enqueue(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.enqueue_job") and self.has_view_permission(request)

    def payload_view(self, request: HttpRequest, key: str) -> HttpResponse:
        if not (request.user.has_perm("jobs.edit_job") and self.has_view_permission(request)):
            raise PermissionDenied
        return payload_page.view(self, request, job_ids.parse(addresses.key_of(key)))

    def event_view(self, request: HttpRequest, event_id: int, column: str) -> StreamingHttpResponse:
        """Return the whole reason or details of an event of a timeline."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        events = JobEvent.objects.filter(pk=event_id)
        if column not in EVENT_COLUMNS or not events.exists():
            raise Http404
        audit.log_download(request.user, f"the whole {column} of event {event_id}", [events.get().job])
        return download(events, column)

    def load(self, key: str) -> JobWithEvidence | None:
        try:
            return Job.objects.with_evidence().filter(pk=key).first()
        except ValidationError:
            return None

    def page(self, request: HttpRequest, row: JobWithEvidence) -> HttpResponse:
        permitted = [action for action in JobAction if self.may(request, action)]
        context = job_page(row, permitted, request.user)
        return self.render(request, "admin/jobs/job/page.html", context)

    def may(self, request: HttpRequest, action: JobAction) -> bool:
        return request.user.has_perm(f"jobs.{action}_job") and self.has_view_permission(request)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return self.may(request, JobAction.REQUEUE)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may(request, JobAction.CANCEL)

    def has_release_permission(self, request: HttpRequest) -> bool:
        return self.may(request, JobAction.RELEASE)

    @admin.action(description="Requeue", permissions=["requeue"])
    def requeue_selected(self, request: HttpRequest, queryset: JobQuerySet) -> HttpResponse:
        return self.begin(request, JobAction.REQUEUE, queryset)

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: JobQuerySet) -> HttpResponse:
        return self.begin(request, JobAction.CANCEL, queryset)

    @admin.action(description="Release", permissions=["release"])
    def release_selected(self, request: HttpRequest, queryset: JobQuerySet) -> HttpResponse:
        return self.begin(request, JobAction.RELEASE, queryset)
