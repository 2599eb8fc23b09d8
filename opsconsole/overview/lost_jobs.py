"""The jobs that wait for a lost message which the next sweep does not send again, for the overview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.models import Job, MessageTrouble
from jobs.recovery import loss_proofs, resends
from jobs.recovery.surroundings import Surroundings
from opsconsole.kit import one_statement
from opsconsole.kit.built_once import built_once
from opsconsole.kit.counting import count
from opsconsole.kit.one_statement import Reading, exists_of, models_of
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
    # What proves a loss takes several statements, and mostly there is nothing to prove.
    asked = one_statement.read(**_readings(None if since else cutoff))
    by_queue = loss_proofs.proofs(asked["states"]) if asked["unproven"] else {}
    if not by_queue:
        return LostMessages()
    lost = loss_proofs.proven(Job.objects.with_trouble(MessageTrouble.UNPROVEN), by_queue)
    return LostMessages(
        count(resends.begun_since(lost, cutoff)) if since else 0,
        count(resends.begun_before(lost, cutoff)) if cutoff else 0,
    )


@built_once
def _readings(before: datetime | None = None) -> dict[str, Reading[Any]]:
    """Read whether a message may be lost, of a job that has been waiting since before then if given, and what may prove it."""
    unproven = Job.objects.with_trouble(MessageTrouble.UNPROVEN)
    return {
        "unproven": exists_of(resends.begun_before(unproven, before) if before else unproven),
        "states": models_of(loss_proofs.readable_states()),
    }
