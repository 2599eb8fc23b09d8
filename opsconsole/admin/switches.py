"""The Controls page: what is paused, since when, by whom and why; pause and resume with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from http import HTTPStatus

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from opsconsole import switches
from opsconsole.kit import audit, form_versions, pauses
from opsconsole.kit.form_versions import Value, Version
from opsconsole.kit.models import Pause
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.reasons import ReasonForm
from opsconsole.switches import Switch

PAGE = "admin:opsconsole_pause_changelist"
EARLIER_SHOWN = 30
# What is switched on a page of its own.
OTHER_CONTROLS = (
    (
        "jobs_recoverycontrol",
        "Recovery",
        "whether it acts or only observes, its cutoff, and a hold after mass silence.",
    ),
    ("ratelimits_limitercontrol", "Limiter", "whether limits are enforced, only counted, or off."),
    (
        "django_q_schedule",
        "Scheduled tasks",
        "each task of the cluster, which can be paused, resumed and run now.",
    ),
)
NO_END = ""
LENGTHS = [
    ("10", "10 min"),
    ("30", "30 min"),
    ("60", "1 h"),
    ("240", "4 h"),
    (NO_END, "until somebody resumes it"),
]


class PauseForm(ReasonForm):
    minutes = forms.ChoiceField(label="For", choices=LENGTHS, required=False, initial="30")

    def lasting(self) -> timedelta | None:
        minutes = self.cleaned_data["minutes"]
        return timedelta(minutes=int(minutes)) if minutes else None

    def is_meant_to_end_earlier(self, held: Pause | None) -> bool:
        return False

    def refuse(self, refused: pauses.WouldEndEarlier) -> None:
        self.add_error("minutes", f"{refused} Nothing was changed.")


class LongerForm(PauseForm):
    """Asks until when a pause is to last that is in force.

    Whether it may end earlier is asked only where it would: nobody who extends a pause has to read of it.
    """

    shorten = forms.BooleanField(label="Let it end earlier than it does now", required=False)
    asks_to_shorten = False

    def is_meant_to_end_earlier(self, held: Pause | None) -> bool:
        """Whoever sets the end of a pause without one sees that, and that is what the button says."""
        return bool(self.cleaned_data["shorten"]) or (held is not None and held.until is None)

    def refuse(self, refused: pauses.WouldEndEarlier) -> None:
        self.asks_to_shorten = True
        how = f"To do so on purpose, tick “{self.fields['shorten'].label}”."
        self.add_error("minutes", f"{refused} {how} Nothing was changed.")


@admin.register(Pause)
class SwitchesAdmin(OnePageAdmin):
    live_on = ("opsconsole.Pause",)

    def show(self, request: HttpRequest) -> HttpResponse:
        return self._page(request)

    def decide(self, request: HttpRequest) -> HttpResponse:
        switch = switches.find(request.POST.get("name", ""))
        decisions = {"pause": self._pause, "extend": self._extend, "resume": self._resume}
        decision = decisions.get(request.POST.get("decision", ""))
        return decision(request, switch) if switch and decision else redirect(PAGE)

    def may_decide(self, request: HttpRequest) -> bool:
        return request.user.has_perm("opsconsole.switch")

    def _page(
        self, request: HttpRequest, wrong: Switch | None = None, form: ReasonForm | None = None
    ) -> HttpResponse:
        held = dict(switches.in_force())
        rows = [
            {
                "switch": switch,
                "pause": held.get(switch),
                "form": form if switch == wrong and not _is_longer(form) else _form(switch, held),
                "longer": form if switch == wrong and _is_longer(form) else _longer(switch, held),
            }
            for switch in switches.table()
        ]
        pauses_now = [pause.pk for pause in held.values()]
        earlier = Pause.objects.annotate(db_now=Now()).exclude(pk__in=pauses_now)[:EARLIER_SHOWN]
        context = {
            "title": "Controls",
            "other_controls": [
                (reverse(f"admin:{page}_changelist"), name, meaning)
                for page, name, meaning in OTHER_CONTROLS
                if may_see(request.user, page)
            ],
            "rows": rows,
            "may_switch": self.may_decide(request),
            "earlier": [(switches.title_of(pause.name), pause) for pause in earlier],
        }
        status = form.status if form else HTTPStatus.OK
        return self.render(request, "admin/opsconsole/switches.html", context, status=status)

    def _pause(self, request: HttpRequest, switch: Switch) -> HttpResponse:
        return self._begin(request, switch, PauseForm, switch.did_pause)

    def _extend(self, request: HttpRequest, switch: Switch) -> HttpResponse:
        """Let a pause last this long from now on. The one before ends, and what it said stays."""
        return self._begin(request, switch, LongerForm, switch.did_extend)

    def _begin(self, request: HttpRequest, switch: Switch, of: type[PauseForm], did: str) -> HttpResponse:
        with transaction.atomic():
            form = of(request.POST, prefix=_prefix(switch, of), version=_locked_version(switch))
            if form.is_valid():
                reason, by = form.cleaned_data["reason"], request.user.get_username()
                shorten = form.is_meant_to_end_earlier(pauses.active(switch.name))
                try:
                    pause = switches.pause(
                        switch, by=by, reason=reason, lasting=form.lasting(), shorten=shorten
                    )
                except pauses.WouldEndEarlier as refused:
                    form.refuse(refused)
                except pauses.PauseRefused as refused:
                    messages.error(request, str(refused))
                    return redirect(PAGE)
                else:
                    return self._confirm(request, pause, did, reason)
        return self._page(request, switch, form)

    def _resume(self, request: HttpRequest, switch: Switch) -> HttpResponse:
        with transaction.atomic():
            form = ReasonForm(request.POST, prefix=_prefix(switch), version=_locked_version(switch))
            if form.is_valid():
                reason, by = form.cleaned_data["reason"], request.user.get_username()
                pause = switches.resume(switch, by=by, reason=reason)
                if pause is None:
                    messages.warning(request, "It was no longer paused. Nothing was changed.")
                    return redirect(PAGE)
                return self._confirm(request, pause, switch.did_resume, reason)
        return self._page(request, switch, form)

    def _confirm(self, request: HttpRequest, pause: Pause, did: str, reason: str) -> HttpResponse:
        audit.log(request.user, [pause], did, why=reason)
        messages.success(request, did)
        return redirect(PAGE)


def _form(switch: Switch, held: dict[Switch, Pause]) -> ReasonForm:
    form = ReasonForm if switch in held else PauseForm
    return form(prefix=_prefix(switch), version=_version(switch, held.get(switch)))


def _longer(switch: Switch, held: dict[Switch, Pause]) -> LongerForm | None:
    if switch not in held:
        return None
    return LongerForm(prefix=_prefix(switch, LongerForm), version=_version(switch, held[switch]))


def _is_longer(form: ReasonForm | None) -> bool:
    return isinstance(form, LongerForm)


def _locked_version(switch: Switch) -> Version:
    """Return the version as it is now, which nobody else changes until the transaction ends."""
    pause = switches.locked_state(switch)
    return _version(switch, pause, Pause.objects.filter(name=switch.name).order_by("-pk")[:1])


def _version(switch: Switch, pause: Pause | None, told_by: Iterable[Pause] = ()) -> Version:
    state = f"paused by {pause.began_by}: {pause.reason}" if pause else "on"
    values = {"state": Value.of(pause and pause.pk, state)}
    return form_versions.of_something(Pause._meta.label_lower, switch.name, values, told_by)  # noqa: SLF001 - Django documents it


def _prefix(switch: Switch, of: type[ReasonForm] = ReasonForm) -> str:
    name = switch.name.replace(":", "-").replace(" ", "-")
    return f"{name}-longer" if of is LongerForm else name
