"""What people decide about recovery, as forms compare it between opening and sending."""

from __future__ import annotations

from datetime import timedelta

from jobs.admin.recovery.forms import ArmForm
from jobs.models import RecoveryControl
from opsconsole.kit import form_versions
from opsconsole.kit.form_versions import Version


def version_of(state: RecoveryControl) -> Version:
    """Return what people decide about recovery."""
    return form_versions.of([state], settings_of(state) | {"last set": state.changed_at})


def settings_of(state: RecoveryControl) -> dict[str, object]:
    """Return each thing that people set, by its name for people."""
    return {"mode": state.mode, "cutoff": state.cutoff, **chosen_rule(state)}


def version_of_hold(state: RecoveryControl) -> Version:
    """Return which hold a form that releases it was opened with."""
    return form_versions.of([state], {"held since": state.hold_until and state.hold_started_at})


def chosen_scope(state: RecoveryControl) -> dict[str, object]:
    """Return which runs recovery takes, as its form asks for it. Before it is armed, nothing is chosen yet."""
    if not state.armed:
        return {}
    if state.cutoff is None:
        return {"scope": ArmForm.ALL}
    # The form asks for whole seconds. Rounded down, it would propose a cutoff before the one in force.
    since = (state.cutoff + timedelta(seconds=1) - timedelta.resolution).replace(microsecond=0)
    return {"scope": ArmForm.SINCE, "since": since}


def chosen_rule(state: RecoveryControl) -> dict[str, object]:
    """Return the rule for unknown runs; its hours are None where it has none."""
    hours = state.unknown_after / timedelta(hours=1) if state.unknown_after else None
    return {"rule": state.unknown_rule, "hours": hours}
