"""The global switch, which sets all limits to shadow or off in an emergency, and back."""

from __future__ import annotations

from django.db.models.functions import Now

from opsconsole.kit import activity, reasons
from opsconsole.kit.errors import OpsConsoleError
from ratelimits.models import LimiterControl, Mode

RESULTS = {
    Mode.ENFORCE: "Rate limits are enforced.",
    Mode.SHADOW: "Rate limits are in shadow mode: requests above a limit are recorded but allowed.",
    Mode.OFF: "Rate limits are off: requests are neither counted nor refused.",
}


class SwitchRefused(OpsConsoleError):
    """The mode was not changed; the message says why."""


def switch(mode: str, *, by: str, reason: str) -> bool:
    """Set the global mode. Of the global mode and a policy's own mode, the weaker applies.

    The change takes effect in every process within two seconds. ``by`` is the user's name. Return False if the mode
    was set already. Raise ``SwitchRefused`` if the reason is missing or the mode is unknown.
    """
    reason = reasons.required(reason, SwitchRefused)
    if mode not in Mode.values:
        raise SwitchRefused(f"There is no mode {mode!r}. Modes: {', '.join(Mode.values)}.")
    control = LimiterControl.objects.filter(pk=1).exclude(mode=mode)
    if not control.update(mode=mode, changed_at=Now(), changed_by=by, reason=reason):
        return False
    activity.done("switch changed", switch="rate limits", to=mode, actor=by)
    return True
