"""Failure groups: letters with the same failure, shown once and decided together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin.bulk import start
from jobs.admin.dead_letters import filters, letter_badges, listed_letters, undecided_letters
from jobs.admin.dead_letters.letter_actions import TO_BE_DECIDED
from jobs.admin.dead_letters.listed_letters import letters_of_group
from jobs.admin.dead_letters.undecided_letters import MOST_COUNTED
from jobs.bulk import turns
from jobs.bulk.kinds import Kind
from jobs.bulk.registry import kind_of
from jobs.dead_letters import fingerprint, replay_results
from jobs.dead_letters.replay_results import ReplayResult
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, FailureGroup
from jobs.models.failure_group import FailureGroupQuerySet
from opsconsole.kit import one_statement
from opsconsole.kit.counting import figure
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.declared_lookups import DeclaredChangeList
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.one_statement import Reading
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.versioned_admin import VersionedAdmin

# The newest letters that the page of a group lists.
MOST_LISTED = 10
# The actions that are offered for all undecided letters of a group.
OFFERED = (LetterAction.REPLAY, LetterAction.DISCARD)


class NoteForm(forms.ModelForm[FailureGroup]):
    class Meta:
        model = FailureGroup
        fields = ("note",)
        widgets = {"note": forms.Textarea(attrs={"rows": 4})}


class GroupColumns(DbNow):
    """``results`` is read by ``GroupChangeList``, for the groups that a list shows."""

    open_letters: int
    results: Mapping[ReplayResult, int]


ShownGroup: TypeAlias = "WithAnnotations[FailureGroup, GroupColumns]"


@dataclass(frozen=True)
class LetterInGroup:
    """A letter on the page of its group."""

    letter: DeadLetter
    state: SafeString
    job: SafeString
    customer: SafeString | str


class GroupChangeList(DeclaredChangeList):
    """Reads what became of replayed letters for the shown groups only, in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        groups = list(self.result_list)
        results = replay_results.of_groups([group.pk for group in groups])
        for group in groups:
            group.results = results.get(group.pk, {})
        self.result_list = groups


@admin.register(FailureGroup)
class FailureGroupAdmin(AgedAdmin, VersionedAdmin):
    live_on = ("jobs.FailureGroup", "jobs.DeadLetter", "jobs.ReplayAttempt", "jobs.Job", "jobs.BulkOperation")
    recorded_at = "What was done to its dead letters is in the ledger on the page of each letter."
    list_display = (
        "name",
        "kind_shown",
        "undecided",
        "newest_replays",
        "first_seen",
        "last_seen",
        "note_shown",
    )
    list_display_links = None
    ordering = ("-last_seen_at", "-id")
    form = NoteForm
    quotes = MappingProxyType(
        dict.fromkeys(("undecided", "letters"), ("jobs_deadletter",))
        | dict.fromkeys(("newest_replays", "replayed"), ("jobs_deadletter", "jobs_job"))
    )
    change_form_template = "admin/jobs/failuregroup/change_form.html"
    readonly_fields = ("kind", "first_seen", "last_seen", "letters", "replayed")
    fields = ("kind", "letters", "replayed", "first_seen", "last_seen", "note")

    @admin.display(description="failure")
    def name(self, group: FailureGroup) -> SafeString:
        url = reverse("admin:jobs_failuregroup_change", args=[group.pk])
        return format_html('<a href="{}">{}</a>', url, group.shown_title)

    @admin.display(description="told by")
    def kind_shown(self, group: FailureGroup) -> str:
        return group.get_kind_display().capitalize()

    @admin.display(description=DeadLetter.OPEN_LABEL)
    def undecided(self, group: ShownGroup) -> SafeString:
        return self.letters(group)

    @admin.display(description=f"letters {DeadLetter.OPEN_LABEL}")
    def letters(self, group: ShownGroup) -> SafeString:
        count = group.open_letters
        if not count:
            return NOTHING
        shown = badge(figure(count, MOST_COUNTED), "bad")
        return format_html('<a href="{}">{} Show them</a>', letters_of_group(group.pk), shown)

    @admin.display(description="newest replays")
    def newest_replays(self, group: ShownGroup) -> SafeString:
        """Show what became of the few letters of the group that were replayed last."""
        return letter_badges.results(group.results)

    @admin.display(description=f"newest {replay_results.MOST_OF_A_GROUP} replays")
    def replayed(self, group: ShownGroup) -> SafeString:
        results = replay_results.of_groups([group.pk], replay_results.MOST_OF_A_GROUP)
        return letter_badges.results(results.get(group.pk, {}))

    @admin.display(description="first seen")
    def first_seen(self, group: ShownGroup) -> SafeString:
        return age(group.first_seen_at, group.db_now, suffix=" ago")

    @admin.display(description="last seen")
    def last_seen(self, group: ShownGroup) -> SafeString:
        return age(group.last_seen_at, group.db_now, suffix=" ago")

    @admin.display(description="note")
    def note_shown(self, group: FailureGroup) -> str | SafeString:
        return group.note or NOTHING

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        groups = cast(FailureGroupQuerySet, super().get_queryset(request))
        return groups.with_letters(DeadLetter.OPEN, MOST_COUNTED)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DeclaredChangeList]:
        return GroupChangeList

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("jobs.change_failuregroup")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.bulk_view)
        one = path("<int:object_id>/bulk/<str:action>/", view, name="jobs_failuregroup_bulk")
        return [one, *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        kinds = [kind for action in OFFERED if self.may(request, kind := kind_of(action))]
        context["show_save_and_continue"] = False
        group = context["original"]
        readings: dict[str, Reading[Any]] = {"undecided": undecided_letters.of_group(group.pk)}
        if may_see(request.user, "jobs_bulkoperation"):
            readings["bulk_turns"] = turns.of_group(group.pk)
        context |= one_statement.read(**readings)
        context["decides"] = bool(kinds)
        context["whole_group"] = kinds if context["undecided"].some_to_decide else []
        context["legend"] = fingerprint.legend(group.shown_title)
        if may_see(request.user, "jobs_deadletter"):
            context |= {
                "newest_letters": _newest_letters(request, group),
                "all_letters": letters_of_group(group.pk, filters.ALL),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def title_of(self, row: FailureGroup) -> str:
        return row.shown_title

    def may(self, request: HttpRequest, kind: Kind) -> bool:
        """Allow what is allowed from the list of letters, for a group that the person may view."""
        seen = self.has_view_permission(request) and request.user.has_perm("jobs.view_deadletter")
        return seen and start.may(request, kind)

    def bulk_view(self, request: HttpRequest, object_id: int, action: str) -> HttpResponse:
        """Freeze the undecided letters of the group on POST and redirect to the preview; nothing else is changed."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if action not in OFFERED:
            raise Http404
        if not self.may(request, kind_of(action)):
            raise PermissionDenied
        group = get_object_or_404(FailureGroup, pk=object_id)
        return start.start(
            request,
            kind_of(action),
            DeadLetter.objects.filter(state__in=TO_BE_DECIDED, group=group),
            scope=f"undecided letters of {group}",
            query=f"group={group.pk}",
            back=letters_of_group(group.pk),
        )


def _newest_letters(request: HttpRequest, group: ShownGroup) -> list[LetterInGroup]:
    """Return the letters of the group that were seen last, whatever their state: an index has them in this order."""
    newest = DeadLetter.objects.light().filter(group=group.pk).annotate(db_now=Now())
    letters = listed_letters.complete(newest.order_by("-first_seen_at", "-pk")[:MOST_LISTED], request.user)
    sees_jobs = may_see(request.user, "jobs_job")
    return [
        LetterInGroup(
            letter,
            letter_badges.state(letter, letter.followed),
            listed_letters.of_job(letter) if sees_jobs else NOTHING,
            listed_letters.customer_of(letter) if sees_jobs else NOTHING,
        )
        for letter in letters
    ]
