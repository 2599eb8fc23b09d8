"""Runs that sweeps pass over, because other transactions keep their rows locked: counted, told, and alerted (I13).

Each sweep stores which runs it passed over, for how many sweeps in a row, and who held them. After three sweeps an
operator should know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from alerts import notify
from alerts.notify import Trouble
from jobs.models import Sweep
from jobs.recovery.lock_holders import LockHolder, holders_of
from opsconsole.kit import addresses
from opsconsole.kit.counting import runs

LOCKED_RUNS = "locked-runs"
SWEEPS_IN_A_ROW = 3
# How many of them are told one by one, with who holds them; and of how many it is remembered that they were passed over.
KEPT = 50
COUNTED = 2_000


@dataclass(frozen=True)
class LockedRuns:
    """Stale runs that were passed over by several sweeps in a row, and who held them when the last of them looked.

    ``more``: there may be others, which are not remembered.
    """

    job_ids: list[UUID]
    holders: list[LockHolder]
    more: bool = False

    @property
    def number(self) -> str:
        return f"At least {runs(len(self.job_ids))}" if self.more else runs(len(self.job_ids))

    def sentence(self, now: datetime) -> str:
        were = f"{self.number} {'was' if len(self.job_ids) == 1 else 'were'} passed over by {SWEEPS_IN_A_ROW} sweeps or more in a row"
        if not self.holders:
            return f"{were}, because another transaction had locked the row."
        return f"{were}: locked by {'; '.join(holder.sentence(now) for holder in self.holders)}."

    @property
    def advice(self) -> str:
        if not self.holders:
            return "Find the transaction in pg_stat_activity: the oldest xact_start."
        return f"See what that transaction waits for, or end it: {self.holders[0].ending};"


def details(locked: Sequence[UUID], now: datetime) -> dict[str, Any]:
    """Return what a sweep stores about the runs that it passed over: lines to read, streaks, and who holds them."""
    if not locked:
        return {"lines": [], "locked": {}}
    kept, counted = locked[:KEPT], locked[:COUNTED]
    before = _streaks(Sweep.objects.acted().last_finished())
    holders = holders_of(kept)
    return {
        "lines": [
            f"{job_id} locked by {holders[job_id].sentence(now) if job_id in holders else 'another transaction'}"
            for job_id in kept
        ]
        + ([f"{len(locked) - KEPT:,} more locked by others"] if len(locked) > KEPT else []),
        "locked": {
            str(job_id): {
                "sweeps": before.get(str(job_id), {}).get("sweeps", 0) + 1,
                "by": _stored(holders.get(job_id)),
            }
            for job_id in counted
        },
    }


def _streaks(sweep: Sweep | None) -> dict[str, dict[str, Any]]:
    streaks: dict[str, dict[str, Any]] = sweep.details.get("locked", {}) if sweep else {}
    return streaks


def _stored(holder: LockHolder | None) -> dict[str, Any] | None:
    return asdict(holder) | {"since": holder.since and holder.since.isoformat()} if holder else None


def _read(stored: dict[str, Any]) -> LockHolder:
    return LockHolder(**stored | {"since": stored["since"] and datetime.fromisoformat(stored["since"])})


def long_locked(sweep: Sweep | None) -> LockedRuns | None:
    """Return the runs that this sweep and those before it passed over; None when there are none."""
    long = {job_id: kept for job_id, kept in _streaks(sweep).items() if kept["sweeps"] >= SWEEPS_IN_A_ROW}
    if not long:
        return None
    holders = [_read(kept["by"]) for kept in long.values() if kept["by"]]
    more = sweep is not None and sweep.locked > len(_streaks(sweep))
    return LockedRuns([UUID(job_id) for job_id in long], list(dict.fromkeys(holders)), more)


def remembered(sweep: Sweep | None) -> list[UUID] | None:
    """Return the runs of ``long_locked``; None where there may be others, or where nothing is known."""
    locked = long_locked(sweep)
    return None if locked is None or locked.more else locked.job_ids


def watch(sweep: Sweep, now: datetime) -> None:
    """Open or resolve the alert about runs that sweeps keep passing over."""
    locked = long_locked(sweep)
    if locked is None:
        notify.clear(LOCKED_RUNS)
        return
    notify.fire(
        LOCKED_RUNS,
        Trouble(
            title=f"{locked.number} can't be recovered: others keep the rows locked",
            severity="warning",
            summary=f"{locked.sentence(now)} {locked.advice}",
            value=len(locked.job_ids),
            threshold=0,
            link=addresses.of_list("jobs_job") + "?stale=any",
        ),
    )
