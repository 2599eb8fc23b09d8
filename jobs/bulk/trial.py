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

LOOK_EVERY = timedelta(seconds=5)


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
    back = kind.trial.came_back(first)
    through = 0 if operation.trial_passed else kind.trial.came_through(first)
    return decide(operation, size, back, through)


def decide(operation: DatedOperation, size: int, back: int, through: int) -> Judgement:
    """Decide from how many of the first ``size`` members failed again (``back``) and completed (``through``). Pure."""
    if back * 2 >= size:
        sentence = (
            f"Stopped automatically: {back} of the first {size} failed again. "
            "Find out why before you resume. The waiting members were not changed."
        )
        return Judgement(TrialVerdict.STOP, sentence)
    if operation.trial_passed:
        return Judgement(TrialVerdict.GO_ON)
    waited = operation.trial_until is not None and operation.trial_until <= operation.db_now
    if waited or back + through >= size:
        return Judgement(
            TrialVerdict.PASSED, f"Of the first {size}, {through} completed and {back} failed again."
        )
    return Judgement(
        TrialVerdict.WAIT, f"The first {size} were sent ahead. The rest waits to see whether they fail again."
    )


def _first(operation: BulkOperation, size: int) -> Sequence[str]:
    done = operation.members.filter(id__gt=operation.trial_after, outcome=BulkMember.Outcome.DONE)
    return list(done.order_by("id").values_list("subject", flat=True)[:size])


def ends() -> CombinedExpression:
    """Return when a trial that begins now is over."""
    return Now() + timedelta(seconds=settings.OPSCONSOLE_BULK_TRIAL_SECONDS)
