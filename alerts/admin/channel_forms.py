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
    "Write-only: it is stored encrypted, and no page shows it. Such as mailtos://user:password@example.com?to=team@example.com, "
    "or for the channel slack its incoming webhook."
)


class RouteForm(ReasonForm):
    """What a channel is told; ``address`` only where a page may set it."""

    address = forms.CharField(
        required=False,
        widget=forms.PasswordInput({"autocomplete": "off"}),
        help_text=ADDRESS_HELP,
    )
    least_severity = forms.ChoiceField(
        label="From this severity on",
        choices=[(each.value, each.label) for each in Severity],
        help_text="An alert that no channel wants is told to every channel that is not muted, so that somebody hears of it.",
    )
    rules = forms.MultipleChoiceField(
        label="Only of these rules",
        required=False,
        choices=[(name, rule.title) for name, rule in RULES.items()],
        widget=forms.CheckboxSelectMultiple,
        help_text="Nothing ticked: of all rules, and of alerts without one.",
    )
    queues = forms.MultipleChoiceField(
        label="Only about these queues",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Nothing ticked: about all queues, and alerts about none.",
    )
    from_hour = forms.IntegerField(
        label="From this hour (UTC) on",
        required=False,
        min_value=0,
        max_value=23,
        help_text="Both empty: all day. From 22 before 6 is the night.",
    )
    until_hour = forms.IntegerField(label="Before this hour (UTC)", required=False, min_value=0, max_value=23)
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
    name = forms.CharField(max_length=40, help_text="Lower-case, such as mail or pager.")

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
        self.fields["address"].help_text = f"Empty: it stays. {ADDRESS_HELP}"
        if fixed:
            del self.fields["address"]


def _version(channel: Channel, shown: dict[str, Any]) -> Version:
    # Of the address, only the digest travels.
    kept = form_versions.Value.of(channel.secret, form_versions.HIDDEN)
    return form_versions.of([channel], shown | {"stored address": kept})


class MuteForm(ReasonForm):
    hours = forms.FloatField(
        label="For how many hours",
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
