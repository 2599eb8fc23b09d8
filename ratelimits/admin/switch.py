"""The switch above all policies, and how the limiter itself is."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from opsconsole.kit import audit
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.reasons import ReasonForm
from ratelimits.models import LimiterControl, LimiterTrouble, Mode
from ratelimits.policies import global_switch

PAGE = "admin:ratelimits_limitercontrol_changelist"
PERMISSION = "ratelimits.switch_limiter"
DONE = {
    Mode.ENFORCE: "Rate limits are enforced again.",
    Mode.SHADOW: "Rate limits refuse nothing now; what they would refuse is recorded.",
    Mode.OFF: "Rate limits are off: nothing is counted.",
}


class SwitchForm(ReasonForm):
    mode = forms.ChoiceField(choices=Mode, widget=forms.RadioSelect)
    field_order = ("mode", "reason")


@admin.register(LimiterControl)
class SwitchAdmin(ReadOnlyAdmin):
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self._page(request, SwitchForm(initial={"mode": LimiterControl.load().mode}))
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        form = SwitchForm(request.POST)
        return self._switch(request, form) if form.is_valid() else self._page(request, form)

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return redirect(PAGE)

    def history_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return redirect(PAGE)

    def _switch(self, request: HttpRequest, form: SwitchForm) -> HttpResponse:
        mode, reason = form.cleaned_data["mode"], form.cleaned_data["reason"]
        if not global_switch.switch(mode, by=request.user.get_username(), reason=reason):
            messages.warning(request, "It was so already; nothing was changed.")
            return redirect(PAGE)
        sentence = DONE[Mode(mode)]
        audit.log(request.user, [LimiterControl.load()], f"{sentence} {reason}")
        messages.success(request, f"{sentence} It holds everywhere within two seconds.")
        return redirect(PAGE)

    def _page(self, request: HttpRequest, form: SwitchForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Limiter",
            "opts": self.opts,
            "state": LimiterControl.load(),
            "troubles": LimiterTrouble.objects.present().order_by("kind", "process")[:50],
            "form": form,
            "may_switch": request.user.has_perm(PERMISSION),
        }
        return TemplateResponse(request, "admin/ratelimits/switch.html", context)
