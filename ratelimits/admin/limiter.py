"""The limiter page: the global mode, and problems that limiter processes report."""

from __future__ import annotations

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from opsconsole.kit import audit, form_versions
from opsconsole.kit.form_versions import Version
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.reasons import ReasonForm
from ratelimits.admin import trouble_wording
from ratelimits.models import LimiterControl, LimiterTrouble, Mode
from ratelimits.policies import global_switch
from ratelimits.requests import lockout_check
from ratelimits.requests.lockout_check import LocksOut
from ratelimits.requests.lockout_trial import Requester

PAGE = "admin:ratelimits_limitercontrol_changelist"
PERMISSION = "ratelimits.switch_limiter"
TROUBLES_SHOWN = 50


class LimiterModeForm(ReasonForm):
    mode = forms.ChoiceField(choices=Mode, widget=forms.RadioSelect)
    confirm = forms.CharField(
        required=False, max_length=5_000, widget=forms.TextInput(attrs={"autocomplete": "off", "size": 30})
    )
    field_order = ("mode", "reason", "confirm")


@admin.register(LimiterControl)
class LimiterAdmin(OnePageAdmin):
    live_on = ("ratelimits.LimiterControl", "ratelimits.LimiterTrouble")

    def show(self, request: HttpRequest) -> HttpResponse:
        state = LimiterControl.load()
        return self._page(request, LimiterModeForm(initial={"mode": state.mode}, version=_version(state)))

    def may_decide(self, request: HttpRequest) -> bool:
        return request.user.has_perm(PERMISSION)

    def decide(self, request: HttpRequest) -> HttpResponse:
        with transaction.atomic():
            before = _version(LimiterControl.locked())
            form = LimiterModeForm(request.POST, version=before)
            if form.is_valid():
                return self._switch(request, form, before)
        return self._page(request, form)

    def _switch(self, request: HttpRequest, form: LimiterModeForm, before: Version) -> HttpResponse:
        mode, reason = form.cleaned_data["mode"], form.cleaned_data["reason"]
        try:
            lockout_check.refuse_unconfirmed_mode(mode, Requester.of(request), form.cleaned_data["confirm"])
        except LocksOut as error:
            form.add_error("confirm", str(error))
            return self._page(request, form)
        if not global_switch.switch(mode, by=request.user.get_username(), reason=reason):
            messages.warning(request, f"Nothing was changed: the mode was {mode} already.")
            return redirect(PAGE)
        result, after = global_switch.RESULTS[Mode(mode)], LimiterControl.load()
        changed = form_versions.difference(before, _version(after))
        audit.log(request.user, [after], result, why=reason, result=changed)
        messages.success(request, f"{result} The change takes effect in all processes within two seconds.")
        return redirect(PAGE)

    def _page(self, request: HttpRequest, form: LimiterModeForm) -> HttpResponse:
        present = LimiterTrouble.objects.present().order_by("kind", "process")[:TROUBLES_SHOWN]
        context = {
            "title": "Limiter",
            "state": LimiterControl.load(),
            "troubles": [(trouble, trouble_wording.in_words(trouble)) for trouble in present],
            "form": form,
            "may_switch": self.may_decide(request),
        }
        return self.render(request, "admin/ratelimits/limiter.html", context)


def _version(state: LimiterControl) -> Version:
    return form_versions.of_row(state, ["mode"])
