"""The Recovery page: whether recovery may act, what it would do now, and the three decisions about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path

from jobs.admin.bulk.start import actor_of
from jobs.admin.heartbeat_traits import traits_for
from jobs.admin.recovery import control_versions, weighed_runs
from jobs.admin.recovery.forms import ArmForm, ThresholdForm, UnknownRunsForm
from jobs.models import RecoveryControl, Restore, Sweep, absent_columns
from jobs.models.worker import stale_after
from jobs.operations import previews
from jobs.recovery import (
    control,
    outlook,
    outlook_wording,
    passed_over,
    recovery_alerts,
    refused_runs,
    surroundings,
    what_if,
)
from jobs.recovery.control import ControlRefused
from jobs.recovery.surroundings import Stop
from jobs.restores import signs
from jobs.runs import life_wording
from opsconsole.kit import audit, form_versions, one_statement, single_rows
from opsconsole.kit.built_once import built_once
from opsconsole.kit.form_versions import FIELD, STATUS, Conflict
from opsconsole.kit.one_statement import Reading, models_of
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.reasons import ReasonForm

# Multiples of the current threshold.
FACTORS = (0.25, 0.5, 1, 2, 4)
SALT = "jobs.arm"
PAGE = "admin:jobs_recoverycontrol_changelist"
TONES = {None: "good", Stop.OBSERVING: "warning", Stop.PAUSED: "warning"}


@admin.register(RecoveryControl)
class RecoveryAdmin(OnePageAdmin):
    live_on = ("jobs.Sweep", "jobs.Job", "jobs.WorkerHeartbeat", "jobs.Restore")

    def show(self, request: HttpRequest) -> HttpResponse:
        return self._page(request)

    def decide(self, request: HttpRequest) -> HttpResponse:
        decisions = {
            "preview": self._preview,
            "arm": self._arm,
            "disarm": self._disarm,
            "release": self._release,
            "unknown": self._choose_rule,
        }
        decision = decisions.get(request.POST.get("decision", ""))
        return decision(request) if decision else redirect(PAGE)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.what_if_view)
        return [path("hindsight/", view, name="jobs_recovery_hindsight"), *super().get_urls()]

    def what_if_view(self, request: HttpRequest) -> HttpResponse:
        """Compare the threshold with others: show what they would have done in the last week."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = ThresholdForm(request.GET if "minutes" in request.GET else None, label_suffix="")
        asked = [form.threshold()] if form.is_valid() else []
        context = {
            "title": "Compare thresholds",
            "form": form,
            "asked": asked,
            "now": stale_after(),
            "days": what_if.LOOKED_BACK.days,
            "answers": what_if.would_have([*asked, *(stale_after() * factor for factor in FACTORS)]),
        }
        return self._render(request, "admin/jobs/what_if.html", context)

    def may_decide(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.arm_recovery")

    def _page(self, request: HttpRequest, **forms_with_errors: Any) -> HttpResponse:
        read = one_statement.read(**_readings())
        state = single_rows.only(RecoveryControl, read["states"])
        last_sweep = next(iter(read["sweeps"]), None)
        around = surroundings.of_state(state)
        around, stale_runs = weighed_runs.weighed(around)
        prospect = outlook.of_sweeps(around)
        locked, refused = passed_over.long_locked(last_sweep), refused_runs.of(last_sweep)
        context = {
            "title": "Recovery",
            "state": state,
            "prospect": prospect,
            "until_armed": outlook_wording.UNTIL_ARMED,
            "tone": TONES.get(prospect.stop, "bad"),
            "passed_over": locked and locked.sentence(around.read_at),
            "passed_over_advice": locked and locked.advice,
            "refused": refused,
            "refused_advice": refused_runs.ADVICE,
            "held": bool(around.armed and around.hold_until and around.hold_until > around.read_at),
            "restore_signs": read["signs"],
            "restore": next(iter(read["restores"]), None),
            "restore_command": signs.COMMAND,
            "unknown_rule": outlook_wording.of_unknown_rule(state),
            "promise": life_wording.promise(),
            "by_hand": outlook_wording.of_queues_by_hand(around.policy.by_hand),
            "absent": absent_columns.sentences(*absent_columns.OF_RUNS),
            "traits": traits_for(request.user),
            **_forms(state),
            **stale_runs,
        }
        for form in forms_with_errors.values():
            if form.conflict:
                # The page may no longer offer this form.
                messages.warning(request, form.conflict.sentence)
        return self._render(request, "admin/jobs/recovery.html", context | forms_with_errors)

    def _preview(self, request: HttpRequest) -> HttpResponse:
        """Show what would be recovered with this cutoff; nothing is changed."""
        form = ArmForm(
            request.POST, prefix="arm", version=control_versions.version_of(RecoveryControl.load())
        )
        if not form.is_valid():
            return self._page(request, arm_form=form)
        return self._preview_page(request, form.cutoff(), form.cleaned_data["reason"])

    def _preview_page(
        self, request: HttpRequest, cutoff: datetime | None, reason: str, conflict: Conflict | None = None
    ) -> HttpResponse:
        frozen = [request.user.pk, cutoff.isoformat() if cutoff else None, reason]
        context = {
            "title": "Arm recovery?",
            "version": control_versions.version_of(RecoveryControl.load()).token(),
            "conflict": conflict,
            "cutoff": cutoff,
            "reason": reason,
            "signed": signing.dumps(frozen, salt=SALT),
            "unknown_rule": outlook_wording.of_unknown_rule(RecoveryControl.load()),
            "promise": life_wording.promise(),
            "traits": traits_for(request.user),
            **weighed_runs.to_arm(cutoff),
        }
        response = self._render(request, "admin/jobs/recovery_arm.html", context)
        if conflict:
            response.status_code = STATUS
        return response

    def _arm(self, request: HttpRequest) -> HttpResponse:
        frozen = _thaw(request.POST.get("signed", ""))
        if frozen is None or frozen[0] != request.user.pk:
            messages.error(
                request,
                "The preview has expired, or is not yours. Nothing was changed. Show the preview again.",
            )
            return redirect(PAGE)
        cutoff, reason = datetime.fromisoformat(frozen[1]) if frozen[1] else None, frozen[2]
        with transaction.atomic():
            state = control.locked_state()
            conflict = form_versions.conflict(control_versions.version_of(state), request.POST.get(FIELD, ""))
            if conflict is None:
                control.arm(actor_of(request), reason, cutoff)
                return self._decided(request, state, "Recovery is armed.", reason)
        return self._preview_page(request, cutoff, reason, conflict)

    def _disarm(self, request: HttpRequest) -> HttpResponse:
        with transaction.atomic():
            state = control.locked_state()
            form = ReasonForm(request.POST, prefix="disarm", version=control_versions.version_of(state))
            if form.is_valid():
                reason = form.cleaned_data["reason"]
                control.disarm(actor_of(request), reason)
                return self._decided(request, state, "Recovery is disarmed and only observes.", reason)
        return self._page(request, disarm_form=form)

    def _release(self, request: HttpRequest) -> HttpResponse:
        with transaction.atomic():
            state = control.locked_state()
            form = ReasonForm(request.POST, prefix="release", version=control_versions.version_of_hold(state))
            if form.is_valid():
                reason = form.cleaned_data["reason"]
                if not control.release_hold(actor_of(request), reason):
                    messages.warning(request, "There is no hold any more. Nothing was changed.")
                    return redirect(PAGE)
                return self._decided(request, state, "The hold is released.", reason)
        return self._page(request, release_form=form)

    def _choose_rule(self, request: HttpRequest) -> HttpResponse:
        with transaction.atomic():
            state = control.locked_state()
            form = UnknownRunsForm(request.POST, prefix="unknown", version=control_versions.version_of(state))
            if form.is_valid() and _set_rule(request, form):
                sentence = outlook_wording.of_unknown_rule(RecoveryControl.load())
                return self._decided(request, state, sentence, form.cleaned_data["reason"])
        return self._page(request, unknown_form=form)

    def _decided(
        self, request: HttpRequest, before: RecoveryControl, sentence: str, reason: str
    ) -> HttpResponse:
        recovery_alerts.retell()
        after = RecoveryControl.load()
        seen, now = (form_versions.of([each], control_versions.settings_of(each)) for each in (before, after))
        changed = form_versions.difference(seen, now)
        audit.log(request.user, [after], sentence, why=reason, result=changed)
        # The next page says what sweeps do now.
        messages.success(request, sentence)
        return redirect(PAGE)

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        return self.render(request, template, context | {"may_arm": self.may_decide(request)})


@built_once
def _readings() -> dict[str, Reading[Any]]:
    return {
        "states": models_of(surroundings.state().annotate(db_now=Now())),
        "sweeps": models_of(Sweep.objects.newest_finished()[:1]),
        "signs": signs.reading(),
        "restores": models_of(Restore.objects.all()[:1]),
    }


def _forms(state: RecoveryControl) -> dict[str, Any]:
    """Return the forms of the decisions, each with the version of what the page shows."""
    version = control_versions.version_of(state)
    hold = replace(control_versions.version_of_hold(state), opened_with=version)
    return {
        "arm_form": ArmForm(prefix="arm", version=version, initial=control_versions.chosen_scope(state)),
        "disarm_form": ReasonForm(prefix="disarm", version=version),
        "release_form": ReasonForm(prefix="release", version=hold),
        "unknown_form": UnknownRunsForm(
            prefix="unknown", version=version, initial=control_versions.chosen_rule(state)
        ),
    }


def _set_rule(request: HttpRequest, form: UnknownRunsForm) -> bool:
    """Set the rule for unknown runs. Return False, with the reason in the form, if that is refused."""
    rule, reason = form.cleaned_data["rule"], form.cleaned_data["reason"]
    rules = RecoveryControl.UnknownRule
    try:
        if rule == rules.NEVER:
            control.leave_unknown_runs(actor_of(request), reason)
        else:
            after = control.hours(form.cleaned_data["hours"]) if rule == rules.AFTER else None
            control.give_up_unknown_runs(actor_of(request), reason, after=after)
    except ControlRefused as error:
        form.add_error("hours", str(error))
        return False
    return True


def _thaw(signed: str) -> list[Any] | None:
    try:
        frozen: list[Any] = signing.loads(signed, salt=SALT, max_age=previews.PREVIEW_LASTS)
    except signing.BadSignature:
        return None
    return frozen
