"""The audit list: who did what to which object, when, why and with what result. It can be filtered and exported, never edited."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import models
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django_stubs_ext import WithAnnotations

from jobs.admin import labels, what_became
from jobs.admin.bulk import operation_results
from jobs.bulk import registry
from jobs.bulk.kinds import Kind
from opsconsole.kit import audit, exports
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.declared_lookups import DeclaredChangeList
from opsconsole.kit.display import NOTHING, age
from opsconsole.seals import state

MOST_CHOICES = 200
SPANS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
}
COLUMNS = ("when", "who", "what", "object_type", "object_id", "object", "why", "result")


class WhoFilter(admin.SimpleListFilter):
    reads_any = True
    title = "who"
    parameter_name = "who"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        """Return the people of whom the audit has lines; the list of all users is another page."""
        of_user = LogEntry.objects.filter(user_id=OuterRef("pk"))
        people = User.objects.filter(Exists(of_user)).order_by("username")
        names = people.values_list("username", flat=True)
        return [(name, name) for name in names[:MOST_CHOICES]]

    def has_output(self) -> bool:
        """Keep the filter also while the audit is empty: without it, an export would hold what it leaves out."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(user__username=self.value()) if self.value() else queryset


class ObjectFilter(admin.SimpleListFilter):
    reads_any = True
    title = "object"
    parameter_name = "object"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        """Return the kinds of objects that this user may see."""
        listed = [model for app in model_admin.admin_site.get_app_list(request) for model in app["models"]]
        return [(_label(model["model"]), capfirst(model["name"])) for model in listed if "model" in model]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        app_label, _, model = (self.value() or "").partition(".")
        if not model:
            return queryset
        # By id: a join would keep PostgreSQL from reading the log backwards.
        kind = (
            ContentType.objects.filter(app_label=app_label, model=model).values_list("pk", flat=True).first()
        )
        return queryset.filter(content_type_id=kind) if kind else queryset.none()


class WhenFilter(admin.SimpleListFilter):
    title = "time"
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        return [
            ("hour", "In the last hour"),
            ("day", "In the last 24 hours"),
            ("week", "In the last 7 days"),
            ("month", "In the last 31 days"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = SPANS.get(self.value() or "")
        return queryset.filter(action_time__gte=Now() - span) if span else queryset


class ReasonFilter(admin.SimpleListFilter):
    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        return [("given", "With a reason"), ("none", "Without a reason")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # Only by the field of its own: a search in the texts of older lines would read all of them.
        match self.value():
            case "given":
                return queryset.filter(detail__reason__gt="")
            case "none":
                none = models.Q(detail=None) | models.Q(detail__reason="")
                return queryset.filter(none).exclude(change_message__contains=audit.WHY)
        return queryset


class Became(DbNow):
    """What the list adds to a line."""

    became: SafeString


class AuditChangeList(DeclaredChangeList):
    """Reads what became of the jobs, dead letters and bulk operations of the shown lines, by three statements for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        lines = audit.linked_for(request.user, self.result_list)
        kinds = {line.pk: kind for line in lines if (kind := _followed(line, request))}
        asked: dict[str, set[str]] = defaultdict(set)
        for line in lines:
            if kind := kinds.get(line.pk):
                asked[kind.action].add(line.object_id)
        bulk = {line.pk: int(line.object_id) for line in lines if _is_of_bulk_operation(line)}
        operations = operation_results.followed(set(bulk.values()), request.user)
        for action, subjects in operations.subjects().items():
            asked[action] |= subjects
        results = registry.results_of(asked)
        totals = operations.shown(results)
        for line in lines:
            if kind := kinds.get(line.pk):
                result = results[kind.action].get(line.object_id)
                line.became = labels.result(result, kind.page) if result else NOTHING
            else:
                line.became = totals.get(bulk.get(line.pk, 0), NOTHING)
        self.result_list = lines


def _is_of_bulk_operation(line: LogEntry) -> bool:
    """Tell whether the line is about what a bulk operation did; a download changed nothing."""
    kind = audit.kind_of(line)
    is_operation = kind is not None and (kind.app_label, kind.model) == ("jobs", "bulkoperation")
    return is_operation and (line.object_id or "").isdecimal() and not audit.is_download(line)


def _followed(line: LogEntry, request: HttpRequest) -> Kind | None:
    """Return the kind of action that a line tells of, if this person may see what became of it."""
    kind = audit.kind_of(line)
    if kind is None or not line.object_id:
        return None
    followed = what_became.kind_of_line(f"{kind.app_label}_{kind.model}", _parts_of(line).did)
    return followed if followed and what_became.may_follow(followed, request.user) else None


@admin.register(LogEntry)
class AuditAdmin(AgedAdmin):
    shown_names = ("line of the audit", "lines of the audit")
    live_on = (
        "admin.LogEntry",
        "opsconsole.AuditDetail",
        "opsconsole.AuditSeal",
        "jobs.Job",
        "jobs.DeadLetter",
        "jobs.ReplayAttempt",
        "jobs.BulkOperation",
        "jobs.BulkMember",
    )
    list_display = ("when", "who", "did", "on", "why", "result", "became")
    list_filter = (WhoFilter, ObjectFilter, WhenFilter, ReasonFilter)
    list_select_related = ("user",)
    list_display_links = None
    search_fields = ("object_id",)
    search_help_text = "The complete id of an object, or a user name"
    ordering = ("-id",)
    change_list_template = "admin/admin/logentry/change_list.html"
    fields = ("when", "who", "did", "on", "why", "result")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DeclaredChangeList]:
        return AuditChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return audit.with_details(super().get_queryset(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if User.objects.filter(username=term).exists():
            return queryset.filter(user__username=term), False
        return queryset.filter(object_id=term), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(
            request, {"title": "Audit", "seals": state.read()} | (extra_context or {})
        )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export)
        return [path("export.<str:form>", view, name="audit_export"), *super().get_urls()]

    def export(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Export every line that matches the filters of the list, newest first, as CSV or JSON."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if form not in exports.FORMS:
            raise Http404
        try:
            lines = self.get_changelist_instance(request).get_queryset(request).order_by("-id")
        except IncorrectLookupParameters as error:
            raise BadRequest("The address names values that the filters of the audit do not know.") from error
        filters = request.GET.urlencode() or "none"
        audit.log_download(request.user, f"the audit as {form.upper()}, filters: {filters}")
        return exports.stream(lines, COLUMNS, _exported, form=form, name="audit")

    @admin.display(description="when")
    def when(self, entry: WithAnnotations[LogEntry, DbNow]) -> SafeString:
        return age(entry.action_time, entry.db_now, suffix=" ago")

    @admin.display(description="who")
    def who(self, entry: LogEntry) -> str:
        return audit.who(entry)

    @admin.display(description="what")
    def did(self, entry: LogEntry) -> str:
        return _parts_of(entry).did

    @admin.display(description="object")
    def on(self, entry: LogEntry) -> SafeString:
        of_kind = audit.kind_of(entry)
        kind = of_kind.name if of_kind else ""
        may_see = getattr(entry, "may_see", False) and not entry.is_deletion()
        url = entry.get_admin_url() if may_see else None
        name = audit.named_beside_kind(entry)
        if not url:
            return format_html('<span class="quiet">{}</span> {}', kind, name)
        return format_html('<span class="quiet">{}</span> <a href="{}">{}</a>', kind, url, name)

    @admin.display(description="why")
    def why(self, entry: LogEntry) -> str | SafeString:
        return _parts_of(entry).why or NOTHING

    @admin.display(description="result")
    def result(self, entry: LogEntry) -> str | SafeString:
        return _parts_of(entry).result or NOTHING

    @admin.display(description="since then")
    def became(self, entry: WithAnnotations[LogEntry, Became]) -> SafeString:
        """Say how the job, the job of the dead letter, or the members of the operation stand now."""
        return entry.became


def _label(model: type[models.Model]) -> str:
    kind = ContentType.objects.get_for_model(model, for_concrete_model=False)
    return f"{kind.app_label}.{kind.model}"


def _parts_of(entry: LogEntry) -> audit.AuditParts:
    """Read a log entry in parts; lines written by Django itself ("Changed Groups.") consist of ``did`` alone."""
    parts = audit.parts_of(entry)
    return parts if parts.did else audit.AuditParts(f"{entry.get_action_flag_display()}.")


def _exported(entry: LogEntry) -> tuple[str, ...]:
    parts = _parts_of(entry)
    of_kind = audit.kind_of(entry)
    kind = f"{of_kind.app_label}.{of_kind.model}" if of_kind else ""
    when, who = entry.action_time.isoformat(), audit.who(entry)
    return when, who, parts.did, kind, entry.object_id or "", audit.named(entry), parts.why, parts.result
