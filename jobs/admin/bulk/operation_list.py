"""The list of bulk operations, the page of each one, and the decisions about it: begin, stop, resume."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, TypeAlias

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin.bulk import member_lines, operation_page, operation_results
from jobs.admin.bulk.start import actor_of, may
from jobs.admin.known_choices import StateFilter
from jobs.bulk import decisions
from jobs.bulk.kinds import BulkRefused, Kind
from jobs.bulk.registry import KINDS, kind_of, results_of
from jobs.models import BulkMember, BulkOperation
from jobs.models.bulk import DatedOperation
from jobs.operations import previews
from opsconsole.kit import actors, audit, exports, form_versions
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.declared_lookups import DeclaredChangeList
from opsconsole.kit.display import NOTHING, age
from opsconsole.kit.form_versions import Version
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.read_only_admin import PageAdmin
from opsconsole.kit.reasons import ReasonField, ReasonForm

State = BulkOperation.State
# Answers of the fragment: reload the whole page; the session has ended.
RESET_CONTENT, SIGNED_OUT = 205, 401

DECISIONS: dict[str, tuple[Callable[..., BulkOperation], str]] = {
    "begin": (decisions.begin, "Begun"),
    "cancel": (decisions.cancel, "Stopped"),
    "resume": (decisions.resume, "Resumed"),
}


EXPORTED = ("subject", "outcome", "sentence", "settled_at", "seen_status", "seen_epoch", "seen_reason")


class DecisionForm(ReasonForm):
    reason = ReasonField(decisions.KEPT, rows=2)
    typed = forms.CharField(
        max_length=20,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "numeric", "size": 12}),
    )


class OperationStateFilter(StateFilter):
    states = tuple(state for state in State if state not in BulkOperation.UNCONFIRMED)


class Became(DbNow):
    """What the list adds to an operation."""

    became: SafeString


FollowedOperation: TypeAlias = "WithAnnotations[BulkOperation, Became]"


class OperationChangeList(DeclaredChangeList):
    """Reads what became of the members of the shown operations, by three statements for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        operations = list(self.result_list)
        followed = operation_results.followed({each.pk for each in operations}, request.user)
        became = followed.shown(results_of(followed.subjects()))
        for each in operations:
            each.became = became.get(each.pk, NOTHING)
        self.result_list = operations


@admin.register(BulkOperation)
class BulkOperationAdmin(AgedAdmin, PageAdmin[DatedOperation]):
    when_empty = (
        "Select jobs or dead letters in their lists, all that match if you like, and choose what to do."
    )
    missing = "There is no bulk operation with this number."
    live_on = ("jobs.BulkOperation", "jobs.BulkMember", "jobs.Job", "jobs.DeadLetter", "jobs.ReplayAttempt")
    list_display = ("what", "condition", "progress", "became", "selection", "by", "reason", "begun")
    list_filter = (OperationStateFilter,)
    list_display_links = None
    ordering = ("-id",)
    quotes = MappingProxyType({"selection": ("jobs_job", "jobs_deadletter")})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out previews, which nobody has confirmed."""
        return super().get_queryset(request).exclude(state__in=BulkOperation.UNCONFIRMED)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DeclaredChangeList]:
        return OperationChangeList

    @admin.display(description="operation")
    def what(self, operation: BulkOperation) -> SafeString:
        kind = KINDS.get(operation.action)
        name = operation_page.title(operation, kind) if kind else operation.action
        url = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
        return format_html('<a href="{}">#{} {}</a>', url, operation.pk, name)

    @admin.display(description="state")
    def condition(self, operation: BulkOperation) -> SafeString:
        return operation_page.state_badge(operation)

    @admin.display(description="progress")
    def progress(self, operation: BulkOperation) -> SafeString:
        return format_html(
            '<progress value="{}" max="{}" aria-label="Progress"></progress> {} of {}',
            operation.worked,
            operation.will,
            f"{operation.worked:,}",
            f"{operation.will:,}",
        )

    @admin.display(description="since then")
    def became(self, operation: FollowedOperation) -> SafeString:
        """Say how the members stand now that were done."""
        return operation.became

    @admin.display(description="selection")
    def selection(self, operation: BulkOperation) -> str:
        return operation.scope

    @admin.display(description="by")
    def by(self, operation: BulkOperation) -> str:
        return actors.in_words(operation.actor)

    @admin.display(description="begun")
    def begun(self, operation: DatedOperation) -> SafeString:
        return age(operation.begun_at, operation.db_now, suffix=" ago")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        name = "jobs_bulkoperation"
        return [
            # Not wrapped in admin_view: a polling page must not be redirected to the login.
            path("<int:pk>/progress/", self.progress_view, name=f"{name}_progress"),
            path("<int:pk>/members.<str:form>", wrap(self.export_view), name=f"{name}_export"),
            path("<int:pk>/decide/<str:decision>/", wrap(self.decide_view), name=f"{name}_decide"),
            *super().get_urls(),
        ]

    def load(self, key: str) -> DatedOperation | None:
        return _load(int(key)) if key.isdecimal() and len(key) < 19 else None

    def page(
        self, request: HttpRequest, row: DatedOperation, form: DecisionForm | None = None
    ) -> HttpResponse:
        try:
            kind = kind_of(row.action)
        except BulkRefused as error:
            messages.error(request, str(error))
            return redirect("admin:jobs_bulkoperation_changelist")
        if row.state != State.ENDED:
            # A running one has a part that updates itself; the others have a form that somebody may be filling in.
            request.__dict__.pop("live_address", None)
        if row.state in BulkOperation.UNCONFIRMED and row.actor != actor_of(request).name:
            raise PermissionDenied
        if row.state == State.PREVIEW:
            template, context = "preview", self._preview(row, kind)
        elif row.state == State.FREEZING:
            template, context = "freezing", operation_page.freezing_context(row, kind)
        else:
            template, context = "page", operation_page.page_context(row, kind, request.GET)
        seen = member_lines.as_far_as_seen(context, kind, request.user)
        if template == "page":
            seen["tone"] = operation_page.verdict_tone(row, seen["results"])
        common = {
            **seen,
            "operation": row,
            "kind": kind,
            "may_decide": may(request, kind),
            "form": form or DecisionForm(version=_version(row)),
        }
        return self.render(request, f"admin/jobs/bulkoperation/{template}.html", common)

    def _preview(self, operation: DatedOperation, kind: Kind) -> dict[str, Any]:
        return operation_page.preview_context(operation, kind) | {
            "must_be_typed": decisions.must_be_typed(operation),
            "expired": operation.created_at <= operation.db_now - previews.PREVIEW_LASTS,
            "list": f"admin:{kind.page}_changelist",
        }

    def decide_view(self, request: HttpRequest, pk: int, decision: str) -> HttpResponse:
        """Begin, stop or resume on POST, then redirect to the operation's page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        operation = _load(pk)
        if operation is None or decision not in DECISIONS:
            raise Http404
        if not may(request, kind_of(operation.action)):
            raise PermissionDenied
        with transaction.atomic():
            operation = decisions.locked_operation(pk) or operation
            form = DecisionForm(request.POST, version=_version(operation))
            if form.is_valid():
                return self._decide(request, operation, decision, form)
        return self.page(request, operation, form)

    def _decide(
        self, request: HttpRequest, operation: DatedOperation, decision: str, form: DecisionForm
    ) -> HttpResponse:
        reason = form.cleaned_data["reason"]
        decide, word = DECISIONS[decision]
        typed = {"typed": form.cleaned_data["typed"]} if decision == "begin" else {}
        try:
            with transaction.atomic():
                after = decide(operation, actor_of(request), reason, **typed)
                did = f"{word}: {decisions.figures(after)}."
                audit.log(request.user, [operation], did, why=reason)
        except BulkRefused as error:
            form.add_error("typed" if decision == "begin" else "reason", str(error))
            return self.page(request, _load(operation.pk) or operation, form)
        return redirect("admin:jobs_bulkoperation_change", operation.pk)

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return the part of the page that changes during the operation; 205 when the whole page must be reloaded."""
        if not self.admin_site.has_permission(request):
            return HttpResponse(status=SIGNED_OUT)
        if not self.has_view_permission(request):
            raise PermissionDenied
        operation = _load(pk)
        if operation is None or (
            operation.state in BulkOperation.UNCONFIRMED and operation.actor != actor_of(request).name
        ):
            raise Http404
        kind = kind_of(operation.action)
        if operation.state == State.FREEZING:
            template, context = "freezing_progress", operation_page.freezing_context(operation, kind)
        elif operation.state == State.RUNNING:
            template, context = "progress", operation_page.progress_context(operation, kind)
        else:
            return HttpResponse(status=RESET_CONTENT)
        response = TemplateResponse(request, f"admin/jobs/bulkoperation/{template}.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def export_view(self, request: HttpRequest, pk: int, form: str) -> HttpResponseBase:
        """Export all members with their outcomes as CSV or JSON, newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        operation = _load(pk)
        if operation is None or operation.state in BulkOperation.UNCONFIRMED or form not in exports.FORMS:
            raise Http404
        if not may_see(request.user, kind_of(operation.action).page):
            raise PermissionDenied
        audit.log_download(request.user, f"the members as {form.upper()}", [operation])
        members, name = operation.members.order_by("-id"), f"bulk-{operation.pk}-{operation.action}"
        exported = _exported if may_see(request.user, "jobs_job") else _exported_apart_from_jobs
        return exports.stream(members, EXPORTED, exported, form=form, name=name)


def _exported(member: BulkMember) -> tuple[str, ...]:
    settled = member.settled_at.isoformat() if member.settled_at else ""
    epoch = "" if member.seen_epoch is None else str(member.seen_epoch)
    seen = member.seen_status, epoch, member.seen_reason
    return member.subject, member.outcome, member.sentence, settled, *seen


def _exported_apart_from_jobs(letter: BulkMember) -> tuple[str, ...]:
    subject, outcome, _, settled, status, *_ = _exported(letter)
    return subject, outcome, member_lines.sentence_apart_from_job(letter), settled, status, "", ""


def _version(operation: BulkOperation) -> Version:
    return form_versions.of([operation], {"state": operation.state, "decisions": decisions.made(operation)})


def _load(pk: int) -> DatedOperation | None:
    return BulkOperation.objects.annotate(db_now=Now()).filter(pk=pk).first()
