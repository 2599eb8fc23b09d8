"""The trial: the first members are sent ahead, and if too many of them fail again, the rest is not sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from django.conf import settings
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from jobs.bulk.kinds import Kind
from jobs.models import BulkMember, BulkOperation
from jobs.models.bulk import DatedOperation
from opsconsole.kit.durations import spell
from opsconsole.kit.short_ids import short_id

LOOK_EVERY = timedelta(seconds=5)
# The failed members that a sentence names; the page of the operation lists more.
NAMED = 5


class TrialVerdict(Enum):
    GO_ON = "go on"
    PASSED = "passed"
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True)
class Judgement:
    """The state of the trial. ``most`` is how many members may go next (None: any number)."""

    verdict: TrialVerdict
    sentence: str = ""
    most: int | None = None


def judge(operation: DatedOperation, kind: Kind) -> Judgement:
    """Judge the first members of an operation that was loaded with ``db_now``.

    They are judged again before every chunk, so that late failures still stop the rest.
    """
    size = settings.OPSCONSOLE_BULK_TRIAL_SIZE
    if kind.trial is None or not size:
        return Judgement(TrialVerdict.GO_ON)
    first = _first(operation, size)
    if len(first) < size:
        return Judgement(TrialVerdict.GO_ON, most=size - len(first))
    failed = set(kind.trial.came_back(first))
    back = [subject for subject in first if subject in failed]
    through = 0 if operation.trial_passed else kind.trial.came_through(first)
    return decide(operation, size, back, through)


def decide(operation: DatedOperation, size: int, back: Sequence[str], through: int) -> Judgement:
    """Decide from which of the first ``size`` members failed again (``back``) and how many completed. Pure."""
    if len(back) * 2 >= size:
        sentence = (
            f"Stopped automatically: {len(back)} of the first {size} failed again: {_named(back)}. "
            "Find out why before you resume. The waiting members were not changed."
        )
        return Judgement(TrialVerdict.STOP, sentence)
    if operation.trial_passed:
        return Judgement(TrialVerdict.GO_ON)
    waited = operation.trial_until is not None and operation.trial_until <= operation.db_now
    if waited or len(back) + through >= size:
        failed = f"{len(back)} failed again: {_named(back)}" if back else "0 failed again"
        return Judgement(TrialVerdict.PASSED, f"Of the first {size}, {through} completed and {failed}.")
    return Judgement(
        TrialVerdict.WAIT, f"The first {size} were sent ahead. The rest waits to see whether they fail again."
    )


def _named(subjects: Sequence[str]) -> str:
    """Return the short ids of the first few, such as "5a3c91d2, 77a0c4e1 and 3 more"."""
    more = len(subjects) - NAMED
    named = ", ".join(short_id(subject) for subject in subjects[:NAMED])
    return f"{named} and {more:,} more" if more > 0 else named


def _first(operation: BulkOperation, size: int) -> Sequence[str]:
    done = operation.members.filter(id__gt=operation.trial_after, outcome=BulkMember.Outcome.DONE)
    return list(done.order_by("id").values_list("subject", flat=True)[:size])


def announced(kind: Kind, members: int) -> str:
    """Return what a preview says of the trial of so many members; '' where all of them go at once."""
    size = settings.OPSCONSOLE_BULK_TRIAL_SIZE
    if kind.trial is None or not 0 < size < members:
        return ""
    seconds = timedelta(seconds=settings.OPSCONSOLE_BULK_TRIAL_SECONDS)
    return (
        f"The first {size} are sent ahead; the rest waits for up to {spell(seconds)} to see whether they fail again, "
        "and is not sent if half of them do."
    )


def ends() -> CombinedExpression:
    """Return when a trial that begins now is over."""
    return Now() + timedelta(seconds=settings.OPSCONSOLE_BULK_TRIAL_SECONDS)
