"""The duty that counts each run that ended once, from the timelines, into rollups of several lengths.

It follows the seals (docs/decisions/0056-trends.md): every committed event is in exactly one seal, however late its
transaction commits. What a seal covers is counted in one transaction with the number of the seal, so a process that is
killed has counted all of it or nothing. One process counts at a time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from jobs.models import RunRollupState
from jobs.models.run_rollup import DAY, SHOWN_FOR
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.seals import id_ranges
from opsconsole.trends import ended_runs, run_counts
from opsconsole.trends.ended_runs import End

BUDGET = timedelta(seconds=20)
# Seals are counted together up to so many events.
MOST_EVENTS = 20_000
LOOKED_BACK = SHOWN_FOR[DAY]
# A clock may be ahead; what is further ahead is no time.
LOOKED_AHEAD = timedelta(hours=1)


@dataclass
class Turn:
    """What one turn counted."""

    runs: int = 0
    seals: int = 0
    busy: bool = False

    def __str__(self) -> str:
        if self.busy:
            return "another process is counting"
        return f"{self.runs:,} runs of {self.seals:,} seals counted"


def count(budget: timedelta = BUDGET) -> Turn:
    """Count the runs of all seals that were not counted yet, the oldest seal first, until the time is up."""
    turn, end = Turn(), time.monotonic() + budget.total_seconds()
    while True:
        with transaction.atomic():
            if not _is_only_one():
                turn.busy = True
                return turn
            state = _state()
            seals = _next_seals(state.seal)
            turn.runs += _count(seals)
            turn.seals += len(seals)
            if seals:
                state.seal = seals[-1].number
            is_last = len(seals) == 0 or time.monotonic() >= end
            if is_last:
                _note_progress(state)
            state.save()
        if is_last:
            return turn


def _is_only_one() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.RUN_ROLLUPS])
        return bool(cursor.fetchone()[0])


def _state() -> RunRollupState:
    state = RunRollupState.objects.first()
    return state or RunRollupState.objects.create(pk=1, counted_from=_first_time(), seal=_last_too_old())


def _last_too_old() -> int:
    """Return the last seal that was made before anything is looked at. Seals are numbered in the order of their times."""
    too_old = AuditSeal.objects.filter(
        source=AuditSeal.Source.TIMELINE, sealed_at__lt=Now() - LOOKED_BACK
    ).order_by("-number")
    return too_old.values_list("number", flat=True).first() or 0


def _first_time() -> datetime:
    """Return since when the timelines are complete, as far as they are looked at."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT greatest(statement_timestamp() - make_interval(days => %s),"
            " least((SELECT at FROM job_events ORDER BY id LIMIT 1), statement_timestamp()))",
            [LOOKED_BACK.days],
        )
        first: datetime = cursor.fetchone()[0]
        return first


def _next_seals(after: int) -> list[AuditSeal]:
    """Return the seals of the timelines after this one, as many as are counted together."""
    seals: list[AuditSeal] = []
    rows = AuditSeal.objects.filter(source=AuditSeal.Source.TIMELINE, number__gt=after).order_by("number")
    for seal in rows.only("number", "ids", "row_count")[:100]:
        if seals and sum(each.row_count for each in seals) + seal.row_count > MOST_EVENTS:
            break
        seals.append(seal)
    return seals


def _count(seals: Sequence[AuditSeal]) -> int:
    ranges = [each for seal in seals for each in _ranges(seal)]
    runs = ended_runs.of(_ends(ranges)) if ranges else []
    run_counts.store(run_counts.counted(runs, datetime.now(UTC)))
    return len(runs)


def _ranges(seal: AuditSeal) -> list[id_ranges.Range]:
    try:
        return id_ranges.from_text(seal.ids)
    except (
        ValueError
    ):  # The chain tells that this seal was altered. It must not stop the count of all others.
        return []


_ENDS = """
SELECT event.id, event.at, event.kind, event.job_id, event.run_epoch
  FROM unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS wanted (first_id, last_id)
 CROSS JOIN LATERAL (SELECT id, at, kind, job_id, run_epoch FROM job_events
                      WHERE id BETWEEN wanted.first_id AND wanted.last_id
                        AND at BETWEEN statement_timestamp() - %(back)s AND statement_timestamp() + %(ahead)s
                        AND kind = ANY (%(kinds)s) AND run_epoch IS NOT NULL) AS event
 ORDER BY event.id
"""


def _ends(ranges: Sequence[id_ranges.Range]) -> list[End]:
    given: dict[str, Any] = {
        "firsts": [first for first, _ in ranges],
        "lasts": [last for _, last in ranges],
        "back": LOOKED_BACK,
        "ahead": LOOKED_AHEAD,
        "kinds": ended_runs.kinds_of(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ENDS, given)
        return [End(*row) for row in cursor.fetchall()]


# Of the events that are not counted yet: the first one in each part of the timelines that no seal covers, where the
# sealer has begun, and the first one of the seals that are left.
_PROGRESS = """
SELECT statement_timestamp(),
       EXISTS (SELECT FROM audit_unsealed WHERE source = 'timeline' AND last_id IS NULL),
       least((SELECT min(event.at) FROM audit_unsealed AS part
               CROSS JOIN LATERAL (SELECT at FROM job_events
                                    WHERE id BETWEEN part.first_id AND coalesce(part.last_id, 9223372036854775806)
                                    ORDER BY id LIMIT 1) AS event
               WHERE part.source = 'timeline'),
             (SELECT at FROM job_events
               WHERE id >= (SELECT min(first_id) FROM audit_seals WHERE source = 'timeline' AND number > %s)
               ORDER BY id LIMIT 1))
"""


def _note_progress(state: RunRollupState) -> None:
    """Note until when everything is counted: where nothing is left, until now. Without a sealer, nobody knows."""
    with connection.cursor() as cursor:
        cursor.execute(_PROGRESS, [state.seal])
        now, is_sealed, first_left = cursor.fetchone()
    state.turned_at = now
    if is_sealed:
        state.counted_until = min(now, first_left or now)
