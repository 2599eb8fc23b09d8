"""The limiter page: the global mode, and problems that limiter processes report."""

from __future__ import annotations

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from opsconsole.kit import audit
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.reasons import ReasonForm
from ratelimits.models import LimiterControl, LimiterTrouble, Mode
from ratelimits.policies import global_switch

PAGE = "admin:ratelimits_limitercontrol_changelist"
PERMISSION = "ratelimits.switch_limiter"
RESULTS = {
    Mode.ENFORCE: "Rate limits are enforced.",
    Mode.SHADOW: "Rate limits are in shadow mode: requests above a limit are recorded but allowed.",
    Mode.OFF: "Rate limits are off: requests are neither counted nor refused.",
}


class LimiterModeForm(ReasonForm):
    mode = forms.ChoiceField(choices=Mode, widget=forms.RadioSelect)
    field_order = ("mode", "reason")


@admin.register(LimiterControl)
class LimiterAdmin(OnePageAdmin):
    def show(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, LimiterModeForm(initial={"mode": LimiterControl.load().mode}))

    def may_decide(self, request: HttpRequest) -> bool:
        return request.user.has_perm(PERMISSION)

    def decide(self, request: HttpRequest) -> HttpResponse:
        form = LimiterModeForm(request.POST)
        return self._switch(request, form) if form.is_valid() else self._page(request, form)

    def _switch(self, request: HttpRequest, form: LimiterModeForm) -> HttpResponse:
        mode, reason = form.cleaned_data["mode"], form.cleaned_data["reason"]
        if not global_switch.switch(mode, by=request.user.get_username(), reason=reason):
            messages.warning(request, f"Nothing was changed: the mode was {mode} already.")
            return redirect(PAGE)
        result = RESULTS[Mode(mode)]
        audit.log(request.user, [LimiterControl.load()], f"{result} {reason}")
        messages.success(request, f"{result} The change takes effect in all processes within two seconds.")
        return redirect(PAGE)

    def _page(self, request: HttpRequest, form: LimiterModeForm) -> HttpResponse:
        context = {
            "title": "Limiter",
            "state": LimiterControl.load(),
            "troubles": LimiterTrouble.objects.present().order_by("kind", "process")[:50],
            "form": form,
            "may_switch": self.may_decide(request),
        }
        return self.render(request, "admin/ratelimits/limiter.html", context)
