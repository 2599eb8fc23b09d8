"""The dead letters list, the page of each letter, and the actions. It reads the database, never SQS."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin.dead_letters import choose_queue, coverage, edit, filters, letter_badges, listed_letters
from jobs.admin.dead_letters.letter_actions import PlannedLetters
from jobs.admin.dead_letters.letter_page import ShownLetter, bulk_turns, download, letter_page
from jobs.admin.dead_letters.listed_letters import ListedLetter
from jobs.admin.dead_letters.typed_filters import (
    LetterCustomerFilter,
    LetterWorkerFilter,
    SeenBeforeFilter,
    SeenSinceFilter,
)
from jobs.admin.sorting import SortedChangeList
from jobs.dead_letters import chosen_queue, cluster_work, editing, replay_results, requeue, search_text
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter
from jobs.models.dead_letter import DeadLetterQuerySet
from opsconsole.kit import audit, pauses
from opsconsole.kit.capped_paginator import StatesPaginator
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.display import NOTHING, age
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.read_only_admin import PageAdmin
from opsconsole.kit.short_ids import short_id

PERMISSIONS = {
    LetterAction.REPLAY: "replay",
    LetterAction.DISCARD: "discard",
    LetterAction.RESTORE: "discard",
    LetterAction.MARK_SENT: "replay",
    LetterAction.MARK_NOT_SENT: "replay",
}


class LetterChangeList(SortedChangeList):
    """Reads the status of jobs and the results of replays for the shown letters only."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        letters = super().get_queryset(request, exclude_parameters)
        return self.menu.sorted(letters) if self.menu else letters

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = listed_letters.complete(self.result_list, request.user)


@admin.register(DeadLetter)
class DeadLetterAdmin(PlannedLetters, AgedAdmin, PageAdmin[ShownLetter]):
    missing = "There is no dead letter with this id."
    history_at = "#ledger"
    live_on = (
        "jobs.DeadLetter",
        "jobs.DeadLetterQueue",
        "jobs.FailureGroup",
        "jobs.ReplayAttempt",
        "jobs.Job",
        "jobs.BulkOperation",
    )
    list_display = (
        "short_id",
        "failure",
        "condition",
        "of_job",
        "customer",
        "first_seen",
        "sent",
        "time_left",
        "source",
    )
    list_display_links = None
    quotes = MappingProxyType({"of_job": ("jobs_job",), "customer": ("jobs_job",)})
    paginator = StatesPaginator
    list_filter = (
        filters.LetterOrder,
        filters.LetterStateFilter,
        filters.GroupFilter,
        filters.LeftFilter,
        filters.SourceQueueFilter,
        filters.DeadLetterQueueFilter,
        LetterCustomerFilter,
        LetterWorkerFilter,
        SeenSinceFilter,
        SeenBeforeFilter,
    )
    sortable_by = ("first_seen",)
    ordering = ("-first_seen_at", "-id")
    # Not used as fields: they only show the search box; ``get_search_results`` does the search.
    search_fields = ("id",)
    search_help_text = "Words of the body, or the id of a letter, a job or a message"
    change_list_template = "admin/jobs/deadletter/change_list.html"
    actions = ("replay_selected", "discard_selected", "restore_selected")

    @admin.display(description="letter")
    def short_id(self, letter: DeadLetter) -> SafeString:
        url = reverse("admin:jobs_deadletter_change", args=[letter.pk])
        return format_html('<a href="{}"><code>{}</code></a>', url, short_id(letter.pk))

    @admin.display(description="failure")
    def failure(self, letter: DeadLetter) -> SafeString:
        return format_html(
            '<a href="?group={}">{}</a> {}',
            letter.group_id,
            letter.group.shown_title,
            letter_badges.returns(letter),
        )

    @admin.display(description="job")
    def of_job(self, letter: ListedLetter) -> SafeString:
        return listed_letters.of_job(letter)

    @admin.display(description="customer")
    def customer(self, letter: ListedLetter) -> SafeString | str:
        return listed_letters.customer_of(letter)

    @admin.display(description="first seen", ordering="first_seen_at")
    def first_seen(self, letter: ListedLetter) -> SafeString:
        return age(letter.first_seen_at, letter.db_now, suffix=" ago")

    @admin.display(description="sent")
    def sent(self, letter: ListedLetter) -> SafeString:
        return age(letter.sent_at, letter.db_now, suffix=" ago")

    @admin.display(description="SQS deletes it")
    def time_left(self, letter: ListedLetter) -> SafeString:
        return letter_badges.time_left(letter, letter.db_now)

    @admin.display(description="source")
    def source(self, letter: DeadLetter) -> str | SafeString:
        return letter.queue or NOTHING

    @admin.display(description="state")
    def condition(self, letter: ListedLetter) -> SafeString:
        return letter_badges.state(letter, letter.followed)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LetterChangeList]:
        return LetterChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        letters = cast(DeadLetterQuerySet, super().get_queryset(request))
        return letters.light().select_related("group")

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        by_job = may_see(request.user, "jobs_job")
        return search_text.search(queryset, search_term, by_job=by_job), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        lines = coverage.lines()
        context = {
            "coverage": lines,
            "unread": coverage.unread(lines),
            "may_check": self.may(request, LetterAction.REPLAY),
            "group_page": _page_of_group(request),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("check/", wrap(self.check_view), name="jobs_deadletter_check"),
            path("<uuid:letter_id>/edit/", wrap(self.edit_view), name="jobs_deadletter_edit"),
            path("<uuid:letter_id>/queue/", wrap(self.queue_view), name="jobs_deadletter_queue"),
            path("<uuid:letter_id>/body/", wrap(self.body_view), name="jobs_deadletter_body"),
            *super().get_urls(),
        ]

    def load(self, key: str) -> ShownLetter | None:
        """Return the letter with its body, its group and its ledger."""
        letters = DeadLetter.objects.select_related("group", "dlq", "returned_from").defer("words")
        history = Prefetch("attempts", to_attr="ledger")
        try:
            return letters.prefetch_related(history).annotate(db_now=Now()).filter(pk=key).first()
        except ValidationError:
            return None

    def page(self, request: HttpRequest, row: ShownLetter) -> HttpResponse:
        job = requeue.jobs_of([row]).get(row.job_id)
        sees_jobs = may_see(request.user, "jobs_job")
        followed = replay_results.of_letters([row.pk]).get(row.pk)
        followed = replay_results.as_far_as_seen(followed, sees_jobs=sees_jobs)
        permitted = [action for action in LetterAction if self.may(request, action)]
        context = letter_page(row, job, permitted, sees_jobs=sees_jobs) | {
            "bulk_turns": bulk_turns(row, job, request.user),
            "state": letter_badges.state(row, followed, linked=False),
            "returns": letter_badges.returns(row),
            "receives": letter_badges.receives(row),
            "time_left": letter_badges.time_left(row, row.db_now),
            "may_edit": self.may_edit(request) and editing.offered(row, job),
            **edit.other_way(row, job, request.user),
            "may_choose": LetterAction.REPLAY in permitted and chosen_queue.is_offered(row, job),
        }
        return self.render(request, "admin/jobs/deadletter/page.html", context)

    def may(self, request: HttpRequest, action: LetterAction) -> bool:
        needed = f"jobs.{PERMISSIONS[action]}_deadletter"
        return request.user.has_perm(needed) and self.has_view_permission(request)

    def may_edit(self, request: HttpRequest) -> bool:
        """Tell whether the person may edit: this needs its own permission, the one to replay, and a setting."""
        allowed = request.user.has_perm("jobs.edit_deadletter") and self.may(request, LetterAction.REPLAY)
        return bool(settings.OPSCONSOLE_EDIT_DEAD_LETTERS) and allowed

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return self.may(request, LetterAction.REPLAY)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return self.may(request, LetterAction.DISCARD)

    @admin.action(description="Replay", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self.begin(request, LetterAction.REPLAY, queryset)

    @admin.action(description="Discard", permissions=["discard"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self.begin(request, LetterAction.DISCARD, queryset)

    @admin.action(description="Restore", permissions=["discard"])
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self.begin(request, LetterAction.RESTORE, queryset)

    def edit_view(self, request: HttpRequest, letter_id: UUID) -> HttpResponse:
        if not self.may_edit(request):
            raise PermissionDenied
        return edit.view(self, request, letter_id)

    def queue_view(self, request: HttpRequest, letter_id: UUID) -> HttpResponse:
        if not self.may(request, LetterAction.REPLAY):
            raise PermissionDenied
        return choose_queue.view(self, request, letter_id)

    def body_view(self, request: HttpRequest, letter_id: UUID) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        response = download(letter_id)
        audit.log_download(request.user, "the whole body", DeadLetter.objects.filter(pk=letter_id))
        return response

    def check_view(self, request: HttpRequest) -> HttpResponse:
        """Ask the cluster to check now; a page never waits for SQS."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, LetterAction.REPLAY):
            raise PermissionDenied
        if pauses.active(pauses.DEAD_LETTER_CHECKS):
            messages.warning(
                request, "Nothing is checked: checks of dead letters are paused. Resume them on Controls."
            )
        else:
            cluster_work.ask_to_check()
            messages.success(request, "The cluster was asked to check. Reload this page in a few seconds.")
        return redirect("admin:jobs_deadletter_changelist")


def _page_of_group(request: HttpRequest) -> str:
    """Return the page of the failure group by which the list is filtered, where all its letters are decided at once."""
    group = request.GET.get("group", "")
    if not (group.isascii() and group.isdigit() and may_see(request.user, "jobs_failuregroup")):
        return ""
    return reverse("admin:jobs_failuregroup_change", args=[group])
