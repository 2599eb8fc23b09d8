"""The forms to arm and disarm recovery and to release a hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms

from jobs.models import RecoveryControl
from jobs.recovery import control
from jobs.recovery.control import ControlRefused
from opsconsole.kit.reasons import ReasonForm


class ThresholdForm(forms.Form):
    minutes = forms.FloatField(
        label="Threshold, in minutes",
        min_value=0.1,
        max_value=7 * 24 * 60,
        widget=forms.NumberInput(attrs={"step": "any", "size": 8}),
        error_messages=dict.fromkeys(
            ("required", "invalid", "min_value", "max_value"),
            "Give a number of minutes, from 0.1 to 10,080 (a week).",
        ),
    )

    def threshold(self) -> timedelta:
        return timedelta(minutes=self.cleaned_data["minutes"])


class ArmForm(ReasonForm):
    NOW, SINCE, ALL = "now", "since", "all"
    scope = forms.ChoiceField(
        label="Recover automatically",
        initial=NOW,
        widget=forms.RadioSelect,
        choices=[
            (NOW, "only runs that begin from now on"),
            (SINCE, "runs that began at or after the time below"),
            (ALL, "all runs, however old"),
        ],
    )
    since = forms.DateTimeField(
        label="Time (UTC)",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"],
    )
    field_order = ("scope", "since", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("scope") == self.SINCE and not cleaned.get("since") and "since" not in self.errors:
            self.add_error("since", "Give the time from which runs are recovered.")
        if cleaned.get("scope") == self.SINCE:
            try:
                control.require_passed(cleaned.get("since"))
            except ControlRefused as refusal:
                self.add_error("since", str(refusal))
        return cleaned

    def cutoff(self) -> datetime | None:
        match self.cleaned_data["scope"]:
            case self.NOW:
                return control.database_now()
            case self.SINCE:
                since: datetime = self.cleaned_data["since"]
                return since.astimezone(UTC)
        return None


class UnknownRunsForm(ReasonForm):
    rule = forms.ChoiceField(
        label="Recover unknown runs", choices=RecoveryControl.UnknownRule.choices, widget=forms.RadioSelect
    )
    hours = forms.FloatField(
        label="Hours of silence",
        required=False,
        min_value=0,
        widget=forms.NumberInput(attrs={"step": "any", "size": 8}),
    )
    field_order = ("rule", "hours", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        hours_missing = cleaned.get("hours") is None and "hours" not in self.errors
        if cleaned.get("rule") == RecoveryControl.UnknownRule.AFTER and hours_missing:
            self.add_error("hours", "Give the hours of silence after which unknown runs are recovered.")
        return cleaned
