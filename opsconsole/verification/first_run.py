"""The checklist of an overview without jobs: the next step, by the last verification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.models import Job
from opsconsole.kit.models import Verification
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.verification import record
from opsconsole.verification.check import Verdict

PAGE = "opsconsole_verification"


@dataclass(frozen=True)
class Checklist:
    """``steps`` are the answers that are not well, the next one first; ``last`` is None before the first verification."""

    last: Verification | None
    steps: list[dict[str, Any]]

    @property
    def next_step(self) -> dict[str, Any] | None:
        return self.steps[0] if self.steps else None


def for_user(user: Person, *, jobs_are_known: bool = False) -> Checklist | None:
    """Return the checklist for somebody who may see verifications, while there are no jobs."""
    if not may_see(user, PAGE) or jobs_are_known or Job.objects.exists():
        return None
    last = record.last()
    return Checklist(last, steps_of(last.results) if last else [])


def steps_of(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is wrong, then what could not be judged, each in the order of the list of checks. Pure."""
    return [each for word in (Verdict.WRONG, Verdict.UNKNOWN) for each in results if each["verdict"] == word]
