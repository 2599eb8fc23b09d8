"""What the routes for workers refuse, as problem documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from opsconsole.kit.problems import Problem
from opsconsole.kit.round_trip import RowLocked
from opsconsole_worker.runs.lifecycle import Refusal, Refused
from opsconsole_worker.runs.worker_ids import WorkerIdTaken

# Each try waits for the row itself, for as long as the lock timeout.
_LOCKED_RETRY_SECONDS = 1


@contextmanager
def own_id() -> Iterator[None]:
    """Refuse what a worker says under the id of another key's worker."""
    try:
        yield
    except WorkerIdTaken as error:
        raise Problem(
            409, error.sentence, reason=Refusal.WORKER_ID_TAKEN.name.lower(), settled=False
        ) from error


@contextmanager
def locked_is_told() -> Iterator[None]:
    """Answer that the job's row is locked, and when to repeat the request."""
    try:
        yield
    except RowLocked as error:
        raise locked(
            "Another transaction locks the job's row. Nothing was changed: repeat the request."
        ) from error


def locked(sentence: str) -> Problem:
    """Return the problem for what another transaction keeps locked."""
    return Problem(
        503,
        sentence,
        headers={"Retry-After": str(_LOCKED_RETRY_SECONDS)},
        reason="locked",
        retryAfter=_LOCKED_RETRY_SECONDS,
    )


def refuse(refused: Refused) -> NoReturn:
    """Raise the problem that says why a run was refused."""
    refusal = refused.refusal
    constraint = refused.rule.constraint if refused.rule else ""
    named: dict[str, Any] = {"constraint": constraint} if constraint else {}
    if refused.rule:
        named["refusedForSeconds"] = round(refused.since.total_seconds())
    raise Problem(
        404 if refusal is Refusal.UNKNOWN_JOB else 409,
        refused.sentence,
        reason=refusal.name.lower(),
        settled=refusal.settled,
        retryAfter=round(refused.retry_in.total_seconds()),
        **named,
    )
