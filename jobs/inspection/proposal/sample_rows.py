"""What the console would make of rows of the proposed table: their status, since when, and the last sign of life. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from jobs.inspection.proposal.proposed import Proposal, TableProposal
from jobs.inspection.proposal.times import LEAST_MILLISECONDS
from opsconsole.kit.durations import spell
from opsconsole.kit.mapping import (
    CANCELLED,
    COMPLETED,
    EPOCH_MILLISECONDS,
    FAILED,
    IN_PROGRESS,
    PENDING,
    QUARANTINED,
)

MOST_ROWS = 12
MOST_OF_A_WORD = 2
UNKNOWN = "last beat unknown"
Row = Mapping[str, str | None]


@dataclass(frozen=True)
class SampleRow:
    """A row: ``sentence`` completes "this row would be ...". ``others``: the columns that the mapping leaves out."""

    key: str
    word: str
    sentence: str
    others: Mapping[str, str | None]


def sample_rows(proposal: Proposal, now: datetime) -> list[SampleRow]:
    """Return a few rows, at most two with the same word. None where the proposal is refused: no rows would be read."""
    facts, columns = proposal.jobs.facts, proposal.jobs.columns
    key, status = columns.get("id"), columns.get("status")
    if facts is None or proposal.refused or key is None or status is None:
        return []
    seen: Counter[str] = Counter()
    rows: dict[str, SampleRow] = {}
    mapped = set(columns.values())
    for row in facts.sample:
        # Rows of the statistics have a status and nothing else.
        word, its_key = row.get(status), row.get(key)
        if word is None or its_key is None or its_key in rows or seen[word] >= MOST_OF_A_WORD:
            continue
        seen[word] += 1
        others = {name: value for name, value in row.items() if name not in mapped}
        rows[its_key] = SampleRow(its_key, word, _sentence(proposal, row, now), others)
        if len(rows) >= MOST_ROWS:
            break
    return list(rows.values())


def _sentence(proposal: Proposal, row: Row, now: datetime) -> str:
    """Say what the row would be."""
    jobs = proposal.jobs
    word = row.get(jobs.columns["status"] or "")
    status = proposal.statuses.status_of(word)

    def since(*names: str) -> str:
        times = (_time(jobs, name, row) for name in names)
        return next((spell(now - time) for time in times if time is not None), "")

    if status is None:
        return f"left alone as it is: {word!r} is no word of the mapping"
    if status == PENDING:
        return f"waiting for {since('created_at') or 'an unknown time'}"
    if status == IN_PROGRESS:
        running = since("started_at", "updated_at", "created_at") or "an unknown time"
        return f"running for {running}, {_LIVES[proposal.told_by](proposal, row, now)}"
    ended = since("completed_at", "updated_at")
    return _ENDED[status] + (f" {ended} ago" if ended else "")


_ENDED = {COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled", QUARANTINED: "in quarantine"}


def _of_beats(proposal: Proposal, row: Row, now: datetime) -> str:
    beats, key = proposal.heartbeats, row.get(proposal.jobs.columns["id"] or "")
    names_job = beats.columns.get("current_job_id")
    if beats.facts is None or names_job is None:
        return UNKNOWN
    named = [beat for beat in beats.facts.sample if beat.get(names_job) == key]
    times = [_time(beats, "last_heartbeat", beat) for beat in named]
    known = [time for time in times if time is not None]
    return f"last beat {spell(now - max(known))} ago" if known else UNKNOWN


def _of_column(proposal: Proposal, row: Row, now: datetime) -> str:
    column = proposal.life_column or ""
    time = _read(row.get(column), "")
    return (
        f'last sign of life ("{column}") {spell(now - time)} ago'
        if time
        else f'no sign of life in "{column}"'
    )


def _of_change(proposal: Proposal, row: Row, now: datetime) -> str:
    time = _time(proposal.jobs, "updated_at", row)
    return f"last change {spell(now - time)} ago" if time else "last change unknown"


def _of_nothing(*_: object) -> str:
    return UNKNOWN


_LIVES: Mapping[str, Callable[[Proposal, Row, datetime], str]] = {
    "beats": _of_beats,
    "job_column": _of_column,
    "updated_at": _of_change,
    "worker_beats": _of_nothing,
    "visibility": _of_nothing,
}


def _time(part: TableProposal, name: str, row: Row) -> datetime | None:
    return _read(row.get(part.columns.get(name) or ""), part.times.get(name, ""))


def _read(text: str | None, kind: str) -> datetime | None:
    """Return a time as PostgreSQL prints it, or a number of them; None where it is none that Python can hold."""
    try:
        if text and text.isdecimal():
            in_milliseconds = kind == EPOCH_MILLISECONDS or (not kind and int(text) >= LEAST_MILLISECONDS)
            return datetime.fromtimestamp(int(text) / (1_000 if in_milliseconds else 1), UTC)
        time = datetime.fromisoformat(text or "")
    except (ValueError, OverflowError, OSError):
        return None
    zone = kind.partition(":")[2]
    return time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone) if zone else UTC)
