"""The rows without which the console can't work, and how ``migrate`` writes them again.

The first migrations wrote them, and don't run again where somebody deleted one or restored a backup without its table.
"""

from __future__ import annotations

from django.db.models.functions import Now
from django.utils.crypto import get_random_string

from jobs.models import RecoveryControl
from opsconsole.kit import audit
from ratelimits.models import LimiterControl

SALT_CHARACTERS = 64
_SENTENCES = {
    RecoveryControl: "The state of recovery was lost and is written anew: recovery only observes until it is armed.",
    LimiterControl: "The state of the limiter was lost and is written anew: all rate limits are enforced.",
}


def write_again() -> list[str]:
    """Write the rows that are missing, as cautious as they can be. Return in sentences what was done; the audit says it, too."""
    by = {"changed_at": Now(), "changed_by": "console", "reason": "The row was missing."}
    rows = {
        RecoveryControl: RecoveryControl.objects.get_or_create(pk=1, defaults=by),
        LimiterControl: LimiterControl.objects.get_or_create(
            pk=1, defaults=by | {"salt": get_random_string(SALT_CHARACTERS)}
        ),
    }
    sentences = [_SENTENCES[model] for model, (_, made) in rows.items() if made]
    for sentence in sentences:
        audit.log_without_user(audit.command_actor(""), sentence, why=audit.NOT_ASKED)
    return sentences
