"""Dead letters that a redrive of their queue leaves behind, because their replay was requested before and is not known to be done."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.models import DeadLetter
from jobs.models.dead_letter import DeadLetterQuerySet
from opsconsole.kit.counting import exactly

State = DeadLetter.State
NAMED = 3
DECIDE = (
    "Nobody knows whether {these} sent, and the console never sends again by itself what may have been sent. Check whether the "
    "work was done, then mark each as sent or as not sent on its page (list: state “outcome unknown”)"
)

CLUSTER_CONTINUES = "The cluster continues with open requests; the page of each letter shows its state."


def sentences(letters: DeadLetterQuerySet, *, just_begun: int = 0) -> Iterator[str]:
    """Yield a sentence per reason for which letters of these are left: of unknown outcome, or being replayed since before.

    ``just_begun``: how many of these are being replayed by whoever asks, and told by it.
    """
    if unknown := letters.filter(state=State.OUTCOME_UNKNOWN).count():
        yield f"{exactly(unknown, 'dead letter')} of unknown outcome. {_decide(letters, unknown)}."
    if (replaying := letters.filter(state=State.REPLAYING).count() - just_begun) > 0:
        yield f"{exactly(replaying, 'dead letter')} being replayed since before. {CLUSTER_CONTINUES}"


def _decide(letters: DeadLetterQuerySet, unknown: int) -> str:
    first = letters.filter(state=State.OUTCOME_UNKNOWN).order_by("sent_at", "pk")
    named = [str(pk) for pk in first.values_list("pk", flat=True)[:NAMED]]
    more = f" and {unknown - NAMED:,} more" if unknown > NAMED else ""
    return f"{DECIDE.format(these='it was' if unknown == 1 else 'they were')}: {', '.join(named)}{more}"
