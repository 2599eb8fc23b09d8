"""The page Verification: what works in this installation, what does not, and what to do about it."""

from __future__ import annotations

from typing import cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from opsconsole.kit.models import Verification
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.verification import background, record
from opsconsole.verification.check import Verdict, Wishes

PAGE = "admin:opsconsole_verification_changelist"
TONES = {Verdict.OK: "good", Verdict.WRONG: "bad", Verdict.UNKNOWN: "warning", Verdict.SKIPPED: "waiting"}
EARLIER_SHOWN = 10


class VerifyForm(forms.Form):
    """What is sent beside the checks that send nothing."""

    channels = forms.BooleanField(label="Send a test to each alert channel", required=False)
    letter = forms.BooleanField(
        label="Send a probe letter through each dead letter queue; an alert may see it for a moment",
        required=False,
    )


@admin.register(Verification)
class VerificationAdmin(OnePageAdmin):
    def show(self, request: HttpRequest) -> HttpResponse:
        rows = list(Verification.objects.annotate(db_now=Now()).order_by("-pk")[: EARLIER_SHOWN + 1])
        last = rows[0] if rows else None
        lines = [each | {"tone": TONES[Verdict(each["verdict"])]} for each in last.results] if last else []
        context = {
            "title": "Verification",
            "last": last,
            "lines": lines,
            "going_on": record.going_on(),
            "earlier": rows[1:],
            "form": VerifyForm(label_suffix=""),
            "may_verify": self.may_decide(request),
        }
        return self.render(request, "admin/opsconsole/verification.html", context)

    def may_decide(self, request: HttpRequest) -> bool:
        return request.user.has_perm("opsconsole.verify")

    def decide(self, request: HttpRequest) -> HttpResponse:
        form = VerifyForm(request.POST)
        form.is_valid()
        user = cast(User, request.user)
        wishes = Wishes(
            by=user.get_username(), letter=form.cleaned_data["letter"], channels=form.cleaned_data["channels"]
        )
        if background.start(user, wishes):
            messages.success(request, "The verification has begun. Each answer appears here as it comes.")
        else:
            messages.warning(request, "A verification goes on already. Nothing was begun.")
        return redirect(PAGE)
