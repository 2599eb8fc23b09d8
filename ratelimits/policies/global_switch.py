"""The global switch: all limits at once to shadow or off, and back. For emergencies, and reversible."""

from __future__ import annotations

from django.db.models.functions import Now

from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError
from ratelimits.models import LimiterControl, Mode


class SwitchRefused(OpsConsoleError):
    """The switch can't be thrown so; the message says what is missing."""


def switch(mode: str, *, by: str, reason: str) -> bool:
    """Set the mode above all policies' own: the weaker of the two holds, everywhere within two seconds.

    ``by``: the user's name. False: it was so already. Raises ``SwitchRefused``.
    """
    reason = reasons.required(reason, SwitchRefused)
    if mode not in Mode.values:
        raise SwitchRefused(f"There is no mode {mode!r}. Modes: {', '.join(Mode.values)}.")
    changed = LimiterControl.objects.filter(pk=1).exclude(mode=mode)
    return bool(changed.update(mode=mode, changed_at=Now(), changed_by=by, reason=reason))
