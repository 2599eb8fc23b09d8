"""Failure groups: the same failure told once, how many letters it holds, and what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin.aged import AgedAdmin
from jobs.models import DeadLetter, FailureGroup
from opsconsole.display import NOTHING, age, badge

if TYPE_CHECKING:
    _Form = forms.ModelForm[FailureGroup]
else:
    _Form = forms.ModelForm

# Counting stops here: a group of a million letters is not counted out for a page.
MOST_COUNTED = 1_000


class NoteForm(_Form):
    class Meta:
        model = FailureGroup
        fields = ("note",)
        widgets = {"note": forms.Textarea(attrs={"rows": 4})}


@admin.register(FailureGroup)
class FailureGroupAdmin(AgedAdmin):
    list_display = ("name", "kind_shown", "undecided", "first_seen", "last_seen", "note_shown")
    list_display_links = None
    ordering = ("-last_seen_at", "-id")
    form = NoteForm
    change_form_template = "admin/change_form.html"
    readonly_fields = ("title", "kind", "first_seen_at", "last_seen_at", "letters")
    fields = ("title", "kind", "letters", "first_seen_at", "last_seen_at", "note")

    @admin.display(description="failure")
    def name(self, group: FailureGroup) -> SafeString:
        url = reverse("admin:jobs_failuregroup_change", args=[group.pk])
        return format_html('<a href="{}">{}</a>', url, group.title)

    @admin.display(description="told by")
    def kind_shown(self, group: FailureGroup) -> str:
        return group.get_kind_display().capitalize()

    @admin.display(description="undecided")
    def undecided(self, group: Any) -> SafeString:
        return self.letters(group)

    @admin.display(description="undecided letters")
    def letters(self, group: Any) -> SafeString:
        count = group.open_letters
        if not count:
            return NOTHING
        shown = f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"
        url = reverse("admin:jobs_deadletter_changelist") + f"?group={group.pk}"
        return format_html('<a href="{}">{}</a>', url, badge(shown, "bad"))

    @admin.display(description="first seen")
    def first_seen(self, group: Any) -> SafeString:
        return age(group.first_seen_at, group.db_now, suffix=" ago")

    @admin.display(description="last seen")
    def last_seen(self, group: Any) -> SafeString:
        return age(group.last_seen_at, group.db_now, suffix=" ago")

    @admin.display(description="note")
    def note_shown(self, group: FailureGroup) -> str | SafeString:
        return group.note or NOTHING

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        groups: QuerySet[Any] = super().get_queryset(request).annotate(open_letters=_open_letters())
        return groups

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("jobs.change_failuregroup")


def _open_letters() -> Any:
    """How many letters of the group are undecided, counted no further than is shown."""
    states = [state.value for state in DeadLetter.OPEN]
    return RawSQL(
        "(SELECT count(*) FROM (SELECT FROM dead_letters WHERE group_id = failure_groups.id AND state = ANY(%s) LIMIT %s) AS counted)",
        (states, MOST_COUNTED + 1),
    )
