"""Policies, edited while they hold: each change says why, and what it means is said before and after."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from opsconsole.kit.display import age, badge
from opsconsole.kit.read_only_admin import TitledAdmin
from opsconsole.kit.reasons import ReasonField
from ratelimits.models import Mode, Policy
from ratelimits.policies import wording
from ratelimits.records import top_clients

TONES = {Mode.ENFORCE: "good", Mode.SHADOW: "warning", Mode.OFF: "quiet"}
LISTS = ("path_prefixes", "methods", "allow_networks", "deny_networks")


class PolicyForm(forms.ModelForm[Policy]):
    class Meta:
        widgets = {"name": forms.TextInput(attrs={"size": 30})}

    reason = ReasonField()

    def clean_methods(self) -> list[str]:
        return [method.upper() for method in self.cleaned_data["methods"]]


@admin.register(Policy)
class PolicyAdmin(TitledAdmin):
    form = PolicyForm
    list_display = ("name", "rate", "state", "algorithm_word", "covers", "key", "changed")
    sortable_by = ()
    actions = None
    show_full_result_count = False
    readonly_fields = ("meaning", "clients")
    fieldsets = (
        (None, {"fields": ("meaning", "name", "limit", "window_seconds", "mode", "reason")}),
        ("Which requests", {"fields": ("path_prefixes", "methods", "position")}),
        ("Whose", {"fields": ("key", "allow_networks", "deny_networks")}),
        ("How it counts", {"fields": ("algorithm", "when_store_is_away")}),
        ("The last hour", {"fields": ("clients",)}),
    )

    @admin.display(description="limit")
    def rate(self, policy: Policy) -> str:
        return wording.rate(policy)

    @admin.display(description="mode")
    def state(self, policy: Policy) -> SafeString:
        return badge(policy.mode.capitalize(), TONES[Mode(policy.mode)])

    @admin.display(description="counting")
    def algorithm_word(self, policy: Policy) -> str:
        return "exact" if policy.algorithm == Policy.Algorithm.MOVING else "approximate"

    @admin.display(description="applies to")
    def covers(self, policy: Policy) -> str:
        return wording.scope(policy)

    @admin.display(description="changed")
    def changed(self, policy: Policy) -> SafeString:
        return format_html("{} by {}", age(policy.changed_at, suffix=" ago"), policy.changed_by)

    @admin.display(description="what it means")
    def meaning(self, policy: Policy) -> str:
        return wording.meaning(policy) if policy.pk else "Said here once it is saved."

    @admin.display(description="busiest clients")
    def clients(self, policy: Policy) -> SafeString | str:
        """Whom it limits, or would limit in shadow mode, by the records of the last hour."""
        found = top_clients.clients(policy.name) if policy.pk else ()
        if not found:
            return "Nobody asked under this policy in the last hour."
        rows = format_html_join(
            "",
            '<tr><td>{}</td><td class="number">{}</td><td class="number">{}</td><td class="number">{}</td></tr>',
            ((each.key, f"{each.peak:,}", f"{each.asked:,}", f"{each.too_many:,}") for each in found),
        )
        return format_html(
            '<table class="lines"><thead><tr><th scope="col">client</th><th scope="col">in its busiest minute</th>'
            '<th scope="col">in the hour</th><th scope="col">too many</th></tr></thead><tbody>{}</tbody></table>',
            rows,
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Policy | None = None) -> tuple[str, ...]:
        # Counts, records and views go by the name.
        return (*self.readonly_fields, "name") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        """Nobody's: a view may name it. Off does what deleting would."""
        return False

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:  # noqa: FBT001
        obj.changed_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    def construct_change_message(  # type: ignore[override] # Django keeps texts too
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - as Django calls it
    ) -> str:
        """What was changed from what to what, and why: the log of changes shows it."""
        reason = form.cleaned_data["reason"]
        if add:
            return f"Added: {wording.meaning(form.instance)} {reason}"
        changes = [
            f"{form.fields[name].label or name}: {_said(form.initial.get(name))} to {_said(form.cleaned_data[name])}"
            for name in form.changed_data
            if name != "reason"
        ]
        return f"{'; '.join(changes) or 'Nothing changed'}. {reason}"


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
