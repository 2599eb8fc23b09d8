"""What a person says when making or revoking an API key."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from opsconsole.kit.reasons import ReasonField, ReasonForm
from ratelimits.keys import api_keys
from ratelimits.models import Policy, Scope

LONGEST = timedelta(days=5 * 366)


class RevokeForm(ReasonForm):
    reason = ReasonField(api_keys.KEPT, autofocus=True)


class KeyForm(ReasonForm):
    """``key_id`` comes with the form, so that sending it twice makes one key."""

    key_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    name = forms.CharField(
        max_length=80,
        help_text="Who will use it, such as “shop, production”. It stands on the timeline of each job it accepts.",
    )
    scopes = forms.MultipleChoiceField(
        label="May",
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose what the key may do."},
    )
    policy = forms.ChoiceField(
        label="Rate limit policy", initial="api-key", help_text="Counts the requests that carry this key."
    )
    reason = ReasonField(api_keys.KEPT)
    expires_on = forms.DateField(
        label="Last day (UTC)",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        help_text="Empty: it is valid until somebody revokes it.",
    )
    field_order = ("key_id", "name", "scopes", "policy", "expires_on", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policies = list(Policy.objects.order_by("name"))
        self.fields["policy"].choices = [  # type: ignore[attr-defined]
            (policy.name, f"{policy.name}: {policy.limit:,} in {policy.window_seconds:,} s")
            for policy in policies
        ]

    def clean_expires_on(self) -> datetime | None:
        """The end of the last day."""
        day = self.cleaned_data["expires_on"]
        if day is None:
            return None
        end = datetime.combine(day, time.max, tzinfo=UTC)
        if not timezone.now() < end < timezone.now() + LONGEST:
            raise forms.ValidationError("The last day lies in the next five years; leave it empty for none.")
        return end
