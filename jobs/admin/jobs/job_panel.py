"""What is wrong with a job, in a sentence with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.admin import labels
from jobs.bulk.turns import Turn
from jobs.models import Status
from jobs.models.job import JobWithEvidence
from jobs.models.worker import stale_after
from jobs.operations.steps import JobAction
from jobs.operations.verdicts import step_for
from jobs.recovery import outlook, surroundings, waiting
from jobs.recovery.waiting import Fact, Waiting
from jobs.runs import life_wording
from jobs.runs.diagnosis import Diagnosis, diagnose
from opsconsole.kit.counting import exactly, many
from opsconsole.kit.durations import spell
from opsconsole.kit.page_permissions import Asker, may_see

# The whole error is below.
ERROR_SHOWN = 300
# Such jobs stay as they are: no sweep and no retry takes them.
STAYS: dict[str, str] = {
    Status.FAILED: (
        "It is not run again until somebody requeues it, or replays its dead letter if it has one. The cause should be mended before."
    ),
    Status.QUARANTINED: "It is not sent again until somebody releases it, or replays its dead letter if it has one.",
}
NOT_SHOWN = "To see why, you need the permission to view outgoing messages and queues."


@dataclass(frozen=True)
class Panel:
    """What is wrong in a sentence, and the evidence: labels with a time or words."""

    heading: str
    sentence: str
    facts: list[Fact]
    tone: str


def waits_of(job: JobWithEvidence) -> Waiting | None:
    """Return why a waiting job waits, if something is wrong with its message."""
    return waiting.look(job.pk) if job.status == Status.PENDING else None


def why(
    job: JobWithEvidence, waits: Waiting | None, user: Asker, bulk_turns: Sequence[Turn] = ()
) -> Panel | None:
    """Return what is wrong with the job, as far as this person may see it."""
    if job.status in STAYS:
        return _of_stay(job, bulk_turns)
    if job.status == Status.CANCELLED:
        return _of_cancelled(job)
    return _of_waiting(waits, user) if waits else _of_run(job, diagnose(job))


def _of_stay(job: JobWithEvidence, bulk_turns: Sequence[Turn]) -> Panel:
    """Return why a job stays as it is, and what would change that, unless a bulk operation will."""
    failed = job.status == Status.FAILED
    error = labels.error_line(job.error_message, ERROR_SHOWN)
    return Panel(
        "Why did it fail?" if failed else "Why is it in quarantine?",
        error or ("No error was recorded." if failed else _without_error(job)),
        [] if any(turn.will for turn in bulk_turns) else [("What happens next", STAYS[job.status])],
        "bad" if failed else "warning",
    )


def _of_cancelled(job: JobWithEvidence) -> Panel | None:
    """Return why the page offers no requeue of a cancelled job, whose worker may still be at it."""
    step = step_for(JobAction.REQUEUE, job)
    return None if step.will else Panel("Why can't it be requeued?", step.sentence, [], "warning")


def _without_error(job: JobWithEvidence) -> str:
    """Return what counted towards quarantine as far as the row tells; others' tables may keep no error."""
    parts = [exactly(job.recovery_count, "recovery", "recoveries")] if job.recovery_count else []
    if job.failed_deliveries:
        parts.append(f"{many(job.failed_deliveries, 'failed delivery', 'failed deliveries')} by SQS")
    return f"No error was recorded. It had {' and '.join(parts)}." if parts else "No error was recorded."


def _of_waiting(waits: Waiting, user: Asker) -> Panel:
    """Return why it waits; the evidence quotes the outgoing messages and the queues."""
    heading, tone = "Why does it wait?", "bad" if waits.trouble.pressing else "warning"
    if may_see(user, "jobs_outbox") and may_see(user, "jobs_queuestate"):
        return Panel(heading, waits.sentence, waits.facts, tone)
    return Panel(heading, f"{waits.trouble.label.capitalize()}. {NOT_SHOWN}", [], tone)


def _of_run(job: JobWithEvidence, diagnosis: Diagnosis) -> Panel | None:
    if diagnosis.reason is None or job.status != Status.IN_PROGRESS:
        return None
    heading = "Why is it stale?" if diagnosis.stale else "What is wrong?"
    tone = "bad" if diagnosis.stale else "warning"
    return Panel(heading, diagnosis.sentence, _facts(job, diagnosis), tone)


def _facts(job: JobWithEvidence, diagnosis: Diagnosis) -> list[Fact]:
    limit = stale_after() if job.claimed_epoch is not None else job.read_at - job.stale_before
    return [
        ("Last beat of this run", job.beat_at or "never"),
        ("Last sign of life", diagnosis.last_seen),
        ("Counts as stale after", f"{spell(limit)} of silence"),
        ("Promise", life_wording.promise()),
        ("Recovery", outlook.of_run(job, surroundings.read()).sentence),
    ]
