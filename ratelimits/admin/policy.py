"""The pages of policies. Each change needs a reason, and a policy's page describes what the policy means."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from opsconsole.kit.audit import AuditParts
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.reasons import ReasonField
from opsconsole.kit.versioned_admin import VersionedAdmin
from ratelimits.admin import policy_links
from ratelimits.models import Mode, Policy
from ratelimits.policies import wording
from ratelimits.policies.policy_snapshot import snapshot_of
from ratelimits.records import top_clients
from ratelimits.requests import lockout_check
from ratelimits.requests.lockout_check import LocksOut
from ratelimits.requests.lockout_trial import Requester

TONES = {Mode.ENFORCE: "good", Mode.SHADOW: "warning", Mode.OFF: "quiet"}


class PolicyForm(forms.ModelForm[Policy]):
    class Meta:
        widgets = {"name": forms.TextInput(attrs={"size": 30})}

    reason = ReasonField()
    confirm = forms.CharField(
        required=False,
        max_length=500,
        label="Confirm a lockout",
        widget=forms.TextInput(attrs={"autocomplete": "off", "size": 30}),
        help_text="Leave it empty. Where saving would lock somebody out, a message says whom, and what to type here.",
    )
    # Who asks, from the request.
    requester: Requester

    def clean_methods(self) -> list[str]:
        return [method.upper() for method in self.cleaned_data["methods"]]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's hook, which the stubs leave out
        if not self.errors:
            self._refuse_to_lock_out()

    def _refuse_to_lock_out(self) -> None:
        # Judged as if all policies were enforced: the global mode may be back at any time.
        stored = Policy.objects.filter(pk=self.instance.pk)
        try:
            lockout_check.refuse_unconfirmed(
                [snapshot_of(policy) for policy in stored],
                [snapshot_of(self.instance)],
                self.requester,
                self.cleaned_data["confirm"],
            )
        except LocksOut as error:
            self.add_error("confirm", str(error))


@admin.register(Policy)
class PolicyAdmin(VersionedAdmin):
    form = PolicyForm
    list_display = ("name", "rate", "state", "precision", "covers", "key", "changed")
    sortable_by = ()
    actions = None
    show_full_result_count = False
    readonly_fields = ("meaning", "clients", "routes")
    # A list that opens would cut what the choices mean on a phone.
    radio_fields: ClassVar[Any] = {  # a dict, as Django's check of the admin asks
        "mode": admin.VERTICAL,
        "key": admin.VERTICAL,
        "algorithm": admin.VERTICAL,
        "when_store_is_away": admin.VERTICAL,
    }
    quotes = MappingProxyType(dict.fromkeys(("clients", "routes"), ("ratelimits_ratelimithour",)))
    fieldsets = (
        (None, {"fields": ("meaning", "name", "limit", "window_seconds", "mode", "reason", "confirm")}),
        ("Requests", {"fields": ("path_prefixes", "methods", "position")}),
        ("Clients", {"fields": ("key", "allow_networks", "deny_networks")}),
        ("Counting", {"fields": ("algorithm", "when_store_is_away")}),
        ("Last hour", {"fields": ("clients", "routes")}),
    )

    @admin.display(description="limit")
    def rate(self, policy: Policy) -> str:
        return wording.rate(policy)

    @admin.display(description="mode")
    def state(self, policy: Policy) -> SafeString:
        return badge(policy.mode.capitalize(), TONES[Mode(policy.mode)])

    @admin.display(description="counting")
    def precision(self, policy: Policy) -> str:
        return "exact" if policy.algorithm == Policy.Algorithm.MOVING else "approximate"

    @admin.display(description="applies to")
    def covers(self, policy: Policy) -> str:
        return wording.scope(policy)

    @admin.display(description="changed")
    def changed(self, policy: Policy) -> SafeString:
        return format_html("{} by {}", age(policy.changed_at, suffix=" ago"), policy.changed_by)

    @admin.display(description="meaning")
    def meaning(self, policy: Policy) -> str:
        return wording.meaning(policy) if policy.pk else "Described here after the policy is saved."

    @admin.display(description="routes")
    def routes(self, policy: Policy) -> SafeString | str:
        """Link to the routes that it counted: those of a policy without paths stand in code."""
        if not policy.pk:
            return NOTHING
        address = policy_links.counted_under(policy)
        return format_html('<a href="{}">Show the routes that it counted</a>', address)

    @admin.display(description="busiest clients")
    def clients(self, policy: Policy) -> SafeString | str:
        """List the busiest clients of the last hour, with the requests that exceeded the limit (in any mode)."""
        clients = top_clients.busiest_clients(policy.name) if policy.pk else ()
        if not clients:
            return "No requests were counted in the last hour."
        rows = format_html_join(
            "",
            '<tr><td>{}</td><td class="number">{}</td><td class="number">{}</td><td class="number">{}</td></tr>',
            (
                (client.key, f"{client.peak:,}", f"{client.requests:,}", f"{client.over_limit:,}")
                for client in clients
            ),
        )
        return format_html(
            '<table class="lines"><thead><tr><th scope="col">Client</th>'
            '<th scope="col">Requests in busiest minute</th><th scope="col">Requests in last hour</th>'
            '<th scope="col">Above the limit</th></tr></thead><tbody>{}</tbody></table>',
            rows,
        )

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        form.requester = Requester.of(request)
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Policy | None = None) -> tuple[str, ...]:
        # Counts, records and views refer to a policy by its name.
        return (*self.readonly_fields, "name") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        """Refuse to delete policies, since a view may name them. The mode "off" has the same effect."""
        return False

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:  # noqa: FBT001
        obj.changed_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:
        """Return the text for the audit log: what a new policy means, or what differs from before; and the reason."""
        if add:
            return AuditParts(f"Added: {wording.meaning(form.instance)}", form.cleaned_data["reason"])
        return super().construct_change_message(request, form, formsets, add)
