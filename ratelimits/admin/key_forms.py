"""The forms for creating and revoking API keys."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, time, timedelta
from typing import Any, cast

from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone

from opsconsole.kit.characters import first_hidden
from opsconsole.kit.reasons import ReasonField, ReasonForm
from ratelimits.keys import api_keys, operator_scopes
from ratelimits.models import ApiKey, Policy, Scope
from ratelimits.policies import wording

LONGEST_VALIDITY = timedelta(days=5 * 366)


class RevokeForm(ReasonForm):
    reason = ReasonField(api_keys.KEPT, autofocus=True)


class KeyForm(ReasonForm):
    """The form for a new key. Its ``key_id`` is part of the form, so that submitting it twice creates one key."""

    key_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    name = forms.CharField(
        max_length=80,
        help_text=(
            "Who will use the key, such as “shop, production”. The timeline of each job that it submits shows this name."
        ),
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one scope."},
    )
    policy = forms.ChoiceField(
        label="Rate limit policy",
        initial="api-key",
        help_text="The policy that limits requests with this key.",
    )
    succeeds = forms.ModelChoiceField(
        label="Successor of",
        required=False,
        queryset=ApiKey.objects.filter(scopes__contains=[Scope.WORKER]),
        empty_label="No key",
        help_text=(
            "For a rotation: the key that this one replaces. Runs that were claimed with one of the two can be ended with the other. "
            "Revoke the old key when nobody uses it any more."
        ),
    )
    reason = ReasonField(api_keys.KEPT)
    expires_on = forms.DateField(
        label="Last day (UTC)",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        help_text="Leave empty for a key that is valid until it is revoked.",
    )
    field_order = ("key_id", "name", "scopes", "policy", "succeeds", "expires_on", "reason")

    def __init__(
        self,
        data: Any = None,
        *,
        sees_policies: bool = True,
        may_free: bool = True,
        maker: User | AnonymousUser | None = None,
    ) -> None:
        """``maker``: the account for which the key acts where a scope is one of the operator's API."""
        super().__init__(data)
        # Nobody gives a key what they may not do themselves.
        kept_back = {scope for scope in Scope if not operator_scopes.may_give(maker, scope)}
        kept_back |= set() if may_free else {Scope.LIMITS_FREE}
        scopes = [
            (scope.value, f"{scope.words.capitalize()} ({scope.value})")
            for scope in Scope
            if scope not in kept_back
        ]
        cast(forms.MultipleChoiceField, self.fields["scopes"]).choices = scopes
        policies = Policy.objects.order_by("name")
        choices = [
            (policy.name, f"{policy.name}: {wording.rate(policy)}" if sees_policies else policy.name)
            for policy in policies
        ]
        cast(forms.ChoiceField, self.fields["policy"]).choices = choices

    def clean_name(self) -> str:
        """Return the name. What nobody sees in it would make two keys look like one, on timelines and in the audit."""
        name: str = self.cleaned_data["name"]
        if hidden := first_hidden(name):
            raise forms.ValidationError(
                f"Take out the character U+{ord(hidden):04X}, which can’t be seen, and write the name on one line."
            )
        return name

    def clean_expires_on(self) -> datetime | None:
        """Return the end of the last day."""
        day = self.cleaned_data["expires_on"]
        if day is None:
            return None
        end = datetime.combine(day, time.max, tzinfo=UTC)
        if not timezone.now() < end < timezone.now() + LONGEST_VALIDITY:
            raise forms.ValidationError("Enter a day within the next five years, or leave the field empty.")
        return end
