"""The jobs that wait for a lost message which the next sweep does not send again, for the overview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jobs.models import Job, MessageTrouble
from jobs.recovery import resends, waiting
from jobs.recovery.surroundings import Surroundings
from opsconsole.kit.counting import count
from opsconsole.overview.memory import memory

# The proof of lost messages reads more than the other figures and changes slowly.
KEPT_SECONDS = 60


@dataclass(frozen=True)
class LostMessages:
    """Numbers of jobs whose message is proven lost, by whether they have been waiting since before recovery's cutoff."""

    since_cutoff: int = 0
    before_cutoff: int = 0


def read(around: Surroundings, *, resending: bool) -> LostMessages:
    """Count the jobs that wait for a lost message which the next sweep does not send again."""
    since = bool(resends.why_none(around, resending=resending))
    cutoff = around.policy.cutoff
    if not (since or cutoff):
        return LostMessages()
    key = f"lost:{since}:{cutoff and cutoff.timestamp()}"
    lost: LostMessages | None = memory.get(key)
    if lost is None:
        lost = _count_lost(cutoff, since=since)
        memory.set(key, lost, KEPT_SECONDS)
    return lost


def _count_lost(cutoff: datetime | None, *, since: bool) -> LostMessages:
    jobs = Job.objects.all() if since else resends.begun_before(Job.objects.all(), cutoff)
    # What proves a loss takes several statements, and mostly there is nothing to prove.
    if not jobs.with_trouble(MessageTrouble.UNPROVEN).exists():
        return LostMessages()
    lost = waiting.having(MessageTrouble.LOST, jobs)
    return LostMessages(
        count(resends.begun_since(lost, cutoff)) if since else 0,
        count(resends.begun_before(lost, cutoff)) if cutoff else 0,
    )
