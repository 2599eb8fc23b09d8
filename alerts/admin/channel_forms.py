"""The forms that add, change, mute and remove a channel. No form shows an address."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings

from alerts.catalog import RULES
from alerts.channel_settings import Route
from alerts.models import Channel
from alerts.models.alert import Severity
from opsconsole.kit import form_versions
from opsconsole.kit.form_versions import Version
from opsconsole.kit.reasons import ReasonField, ReasonForm

ADDRESS_HELP = (
    "Stored encrypted; no page shows it again. For example mailtos://user:password@example.com?to=team@example.com, or, "
    "for the channel slack, its incoming webhook."
)


class RouteForm(ReasonForm):
    """What a channel is told; ``address`` only where a page may set it."""

    address = forms.CharField(
        required=False,
        widget=forms.PasswordInput({"autocomplete": "off"}),
        help_text=ADDRESS_HELP,
    )
    least_severity = forms.ChoiceField(
        label="Lowest severity to send",
        choices=[(each.value, each.label) for each in Severity],
        help_text="An alert that matches no channel is sent to every channel that is not muted.",
    )
    rules = forms.MultipleChoiceField(
        label="Rules",
        required=False,
        choices=[(name, rule.title) for name, rule in RULES.items()],
        widget=forms.CheckboxSelectMultiple,
        help_text="If none is ticked, alerts of all rules are sent, and alerts that belong to no rule.",
    )
    queues = forms.MultipleChoiceField(
        label="Queues",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="If none is ticked, alerts about all queues are sent, and alerts that are about no queue.",
    )
    from_hour = forms.IntegerField(
        label="Send from (hour, UTC)",
        required=False,
        min_value=0,
        max_value=23,
        help_text="0 to 23. Leave both hours empty to send at any time. For example 22 and 6: only at night.",
    )
    until_hour = forms.IntegerField(label="Send until (hour, UTC)", required=False, min_value=0, max_value=23)
    reason = ReasonField(rows=2)
    # Of those a form has.
    field_order = (
        "name",
        "address",
        "least_severity",
        "rules",
        "queues",
        "from_hour",
        "until_hour",
        "reason",
    )

    def __init__(self, *args: Any, kept_queues: Collection[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        names = sorted({*settings.QUEUES, *kept_queues})
        self.fields["queues"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]  # of a choice

    def route(self) -> Route:
        fields = self.cleaned_data
        hours = fields["from_hour"], fields["until_hour"]
        return Route(fields["least_severity"], fields["rules"], *hours, fields["queues"])


class AddForm(RouteForm):
    name = forms.CharField(max_length=40, help_text="In lower case, for example mail or pager.")

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, initial={"least_severity": Severity.INFO})
        self.fields["address"].required = True


class ChangeForm(RouteForm):
    def __init__(self, channel: Channel, data: Any = None, *, fixed: bool) -> None:
        initial = {
            "least_severity": channel.least_severity,
            "rules": channel.rules,
            "queues": channel.queues,
            "from_hour": channel.from_hour,
            "until_hour": channel.until_hour,
        }
        kept = {"kept_queues": channel.queues}
        super().__init__(data, initial=initial, version=_version(channel, initial), **kept)
        self.fields["address"].help_text = f"Leave it empty to keep the address. {ADDRESS_HELP}"
        if fixed:
            del self.fields["address"]


def _version(channel: Channel, shown: dict[str, Any]) -> Version:
    # Of the address, only the digest travels.
    kept = form_versions.Value.of(channel.secret, form_versions.HIDDEN)
    return form_versions.of([channel], shown | {"stored address": kept})


class MuteForm(ReasonForm):
    hours = forms.FloatField(
        label="Mute for (hours)",
        min_value=0.1,
        max_value=168,
        initial=1,
        widget=forms.NumberInput({"step": "any"}),
    )
    reason = ReasonField()
    field_order = ("hours", "reason")

    @property
    def how_long(self) -> timedelta:
        return timedelta(hours=self.cleaned_data["hours"])
