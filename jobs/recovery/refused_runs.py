"""Stale runs whose recovery the database refuses, by a constraint or trigger of theirs: counted, told and alerted.

Such a run is found and refused again by every sweep, until somebody changes the rule or the job. The alert stays the same
one in the meantime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from alerts import notify
from alerts.notify import Trouble
from jobs.models import Sweep
from opsconsole.kit import addresses, job_ids
from opsconsole.kit.counting import runs

REFUSED_RUNS = "refused-runs"
ADVICE = (
    "Change the rule so that it allows what recovery writes (status, error_message and the console's own columns; see the "
    "runbook), or end these jobs by hand."
)


@dataclass(frozen=True)
class RefusedRuns:
    """``rules``: how many runs each rule of the database refused. ``said``: what PostgreSQL said about the first."""

    rules: dict[str, int]
    said: str

    @property
    def count(self) -> int:
        return sum(self.rules.values())

    @property
    def sentence(self) -> str:
        by = "; ".join(f"{rule} ({runs(count)})" for rule, count in self.rules.items())
        return f"The database refused to let the last sweep recover {runs(self.count)}: {by}."


def of(sweep: Sweep | None) -> RefusedRuns | None:
    """Return the runs that the database refused in this sweep; None when there were none."""
    refused: dict[str, Any] = sweep.details.get("refused", {}) if sweep else {}
    if not refused:
        return None
    return RefusedRuns(
        {rule: kept["runs"] for rule, kept in refused.items()}, next(iter(refused.values()))["said"]
    )


def remembered(sweep: Sweep | None) -> list[UUID] | None:
    """Return the runs of ``of``; None where there are others, or where nothing is known."""
    refused: dict[str, Any] = sweep.details.get("refused", {}) if sweep else {}
    if not refused or any(kept["runs"] > len(kept["jobs"]) for kept in refused.values()):
        return None
    known = [job_ids.parse(job_id) for kept in refused.values() for job_id in kept["jobs"]]
    return [job_id for job_id in known if job_id is not None]


def watch(sweep: Sweep) -> None:
    """Open or resolve the alert after a sweep that acted."""
    refused = of(sweep)
    if refused is None:
        notify.clear(REFUSED_RUNS)
        return
    notify.fire(
        REFUSED_RUNS,
        Trouble(
            title=f"{runs(refused.count)} can't be recovered: the database refuses the change",
            severity="critical",
            summary=ADVICE,
            value=refused.count,
            threshold=0,
            facts=[
                ("Refused by", "\n".join(f"{rule}: {runs(count)}" for rule, count in refused.rules.items())),
                ("PostgreSQL said", refused.said),
            ],
            link=addresses.of_row("jobs_sweep", sweep.pk),
        ),
    )
