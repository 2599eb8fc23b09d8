"""Outcomes of operations as answers of the API: what a page says of a skipped row is a problem document here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from jobs.api import refusals
from jobs.operations.steps import LOCKED_BY_OTHERS, Outcome
from jobs.runs.timeline import Actor
from opsconsole.kit.operator_api import OperatorRequest
from opsconsole.kit.problems import Problem


def actor_of(request: OperatorRequest) -> Actor:
    """Return who timelines and ledgers say it was."""
    return Actor(f"api:{request.auth.label}")


def refuse(outcome: Outcome, current: Mapping[str, Any]) -> NoReturn:
    """Raise ``Problem`` for what was planned and not done."""
    if outcome.sentence == LOCKED_BY_OTHERS:
        raise locked()
    reason = "refused_by_database" if outcome.failed else "changed"
    raise Problem(409, outcome.sentence, reason=reason, current=dict(current))


def locked() -> Problem:
    """Return the problem for rows that another transaction keeps locked, as pages tell it."""
    return refusals.locked(LOCKED_BY_OTHERS)
