"""Statuses: whether the table accepts those that the console writes, and which others it has.

Nothing is written: each CHECK is evaluated on a made-up row of the table's type for each status, as the console would
write it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import DatabaseError, DataError, IntegrityError, transaction

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from jobs.models import Status
from jobs.models.columns import JOBS
from opsconsole.kit.bounded_columns import cut_in_statement
from opsconsole.kit.mapping import WITHOUT_ZONE, literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table

MOST_STATUSES = 50
EPOCH = datetime(2000, 1, 1, tzinfo=UTC).isoformat()
# Without these two, operators can't cancel jobs and sweeps can't quarantine them; everything else works.
DISPENSABLE = {Status.QUARANTINED, Status.CANCELLED}
STARTED = {Status.IN_PROGRESS, Status.COMPLETED, Status.FAILED, Status.QUARANTINED}
EXPLAINED = {Status.FAILED, Status.QUARANTINED}

_STATUS = JOBS.sql_column("status")
# A name that no column of theirs has.
_BASE = "opsconsole_row"


def inspect(table: Table) -> Iterator[Finding]:
    accepted = [status for status in _written() if _type_accepts(table, status)]
    yield from unfit_type(table)
    yield from _refused_by_checks(table, accepted)
    yield from _refused_by_lookup(table, accepted)
    yield from _initial(table)
    yield from _unknown(table)


def unfit_type(table: Table) -> Iterator[Finding]:
    """Find a type that lacks a word which the console writes; no row is read."""
    present = table.columns.get(JOBS.column("status"))
    if present is None or present.declared == "text":
        return
    refused = [status for status in _written() if not _type_accepts(table, status)]
    if refused:
        yield _refused_by_type(table, refused)


def _written() -> list[Status]:
    return [status for status in Status if JOBS.written(status) is not None]


def _word(status: str) -> str:
    """Return how the console writes a status; any other text is a word of theirs."""
    return JOBS.written(status) or status


def _row(status: Status) -> str:
    """Return the columns of a job with this status, as the console would write them, as JSON."""
    row: dict[str, object] = {
        "status": _word(status),
        "created_at": EPOCH,
        "updated_at": EPOCH,
        "package_size": 1,
    }
    if status in STARTED:
        row["started_at"] = EPOCH
    if status == Status.COMPLETED:
        row["completed_at"] = EPOCH
    if status in EXPLAINED:
        row["error_message"] = "What went wrong."
    return json.dumps(
        {
            JOBS.column(name): _as_held(name, value)
            for name, value in row.items()
            if name not in JOBS.absent_columns
        }
    )


def _as_held(name: str, value: object) -> object:
    """Return a time as a number where the column holds one."""
    held_as = JOBS.times.get(name)
    return value if held_as is None or held_as.kind == WITHOUT_ZONE else 1


def _type_accepts(table: Table, status: Status) -> bool:
    """Tell whether the type of the column accepts the word, at its full length: a cast would cut it."""
    declared = table.columns[JOBS.column("status")].declared
    try:
        with transaction.atomic():
            catalog.rows(
                f"SELECT word FROM jsonb_to_record(%s) AS written (word {declared})",
                [json.dumps({"word": _word(status)})],
            )
    except (DataError, IntegrityError):
        return False
    return True


def _refused_by_type(table: Table, refused: list[Status]) -> Finding:
    present = table.columns[JOBS.column("status")]
    if present.type == "enum":
        action = " ".join(
            f"ALTER TYPE {present.declared} ADD VALUE {word};"
            for word in dict.fromkeys(literal(_word(status)) for status in refused)
        )
    else:
        action = f"ALTER TABLE {JOBS.sql} ALTER COLUMN {_STATUS} TYPE text;"
    return Finding(
        id="status-type",
        severity=Severity.BLOCKER,
        subject="jobs.status",
        found=f"its type {present.declared} does not have {_list(refused)}",
        wanted=f"a type that has {_list(list(Status))}",
        action=action,
    )


def _refused_by_checks(table: Table, statuses: list[Status]) -> Iterator[Finding]:
    checks = catalog.rows(
        "SELECT quote_ident(conname), pg_get_expr(conbin, conrelid) FROM pg_constraint"
        " WHERE conrelid = %s AND contype = 'c'"
        "   AND (SELECT attnum FROM pg_attribute WHERE attrelid = conrelid AND attname = %s) = ANY (conkey)"
        " ORDER BY conname",
        [table.oid, JOBS.column("status")],
    )
    for name, expression in checks:
        refused = [status for status in statuses if _refuses(expression, status)]
        if refused:
            yield Finding(
                id="status-check",
                severity=_severity(refused),
                subject="jobs.status",
                found=f"the constraint {name} refuses {_list(refused)} as written by the console: {expression}",
                wanted=f"{_list(refused)} accepted",
                action=f"ALTER TABLE {JOBS.sql} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} "
                f"CHECK (({expression}) OR {_STATUS}::text IN ({_list(refused)})) NOT VALID; "
                f"ALTER TABLE {JOBS.sql} VALIDATE CONSTRAINT {name};",
            )


def is_refused_by(table: Table, expression: str) -> bool:
    """Tell whether a CHECK on the status refuses one of those that the console writes."""
    return any(
        _refuses(expression, status)
        for status in Status
        if JOBS.written(status) is not None and _type_accepts(table, status)
    )


def _refuses(expression: str, status: Status) -> bool:
    # A CHECK that is NULL accepts the row. The expression comes from the catalogue and may contain %: pass no parameters.
    for base in (f"SELECT NULL::{JOBS.sql} AS {_BASE}", f"SELECT {_BASE} FROM {JOBS.sql} AS {_BASE} LIMIT 1"):
        row = f"SELECT (jsonb_populate_record({_BASE}, {literal(_row(status))})).* FROM ({base}) AS base"
        try:
            with transaction.atomic():
                answer = catalog.look(f"SELECT ({expression}) IS FALSE FROM ({row}) AS jobs")
        except DatabaseError:
            continue
        # A domain of another column may refuse the NULL of a row that is made up.
        if answer is not None:
            return bool(answer and answer[0][0])
    return False


def _refused_by_lookup(table: Table, statuses: list[Status]) -> Iterator[Finding]:
    references = catalog.rows(
        "SELECT c.confrelid::regclass::text, quote_ident(a.attname) FROM pg_constraint c"
        "  JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = c.confkey[1]"
        " WHERE c.conrelid = %s AND c.contype = 'f' AND c.conkey ="
        "       ARRAY[(SELECT attnum FROM pg_attribute WHERE attrelid = c.conrelid AND attname = %s)]",
        [table.oid, JOBS.column("status")],
    )
    for lookup, key in references:
        known = catalog.look(f"SELECT {key}::text FROM {lookup}") or []
        refused = [status for status in statuses if (_word(status),) not in known]
        if refused:
            values = ", ".join(dict.fromkeys(f"({literal(_word(status))})" for status in refused))
            yield Finding(
                id="status-lookup",
                severity=_severity(refused),
                subject="jobs.status",
                found=f"it refers to {lookup}.{key}, which lacks {_list(refused)}",
                wanted=f"{_list(refused)} in {lookup}",
                action=f"INSERT INTO {lookup} ({key}) VALUES {values};",
            )


def _initial(table: Table) -> Iterator[Finding]:
    default = table.columns[JOBS.column("status")].default
    waiting = JOBS.words(Status.PENDING)
    if default and not any(literal(word) in default for word in waiting):
        yield Finding(
            id="status-default",
            severity=Severity.WARNING,
            subject="jobs.status",
            found=f"its default is {default}: no worker of the console claims a job that is inserted without a status",
            wanted=f"DEFAULT {literal(waiting[0])}",
            action=f"ALTER TABLE {JOBS.sql} ALTER COLUMN {_STATUS} SET DEFAULT {literal(waiting[0])}; or insert the status.",
        )


def _unknown(table: Table) -> Iterator[Finding]:
    seen = _present(table)
    known = {word: JOBS.status_of(word) for word in seen}
    unknown = sorted(word for word, status in known.items() if status not in set(Status))
    running = Status.IN_PROGRESS in known.values()
    if unknown:
        yield Finding(
            id="status-unknown",
            severity=Severity.INFO if running else Severity.WARNING,
            subject="jobs.status",
            found=f"there are jobs with {_list(unknown)}: the console shows them as they are and leaves them alone"
            + ("" if running else "; none is in_progress, the status that recovery checks"),
            action="Nothing, if the status is in_progress during every run.",
        )


def _present(table: Table) -> set[str]:
    """Return the statuses in the table, by steps along an index or else the common ones from the statistics."""
    if _index_leads_with_status(table):
        steps = catalog.look(
            "WITH RECURSIVE seen (status, n) AS ("
            f"  (SELECT {_STATUS}, 1 FROM {JOBS.sql} ORDER BY {_STATUS} LIMIT 1)"
            f"  UNION ALL SELECT (SELECT j.{_STATUS} FROM {JOBS.sql} j WHERE j.{_STATUS} > seen.status ORDER BY j.{_STATUS} LIMIT 1),"
            "                   n + 1 FROM seen WHERE seen.status IS NOT NULL AND n < %s"
            f") SELECT {cut_in_statement('status')} FROM seen WHERE status IS NOT NULL",
            [MOST_STATUSES],
        )
        if steps is not None:
            return {status for (status,) in steps}
    common = catalog.rows(
        "SELECT unnest(most_common_vals::text::text[]) FROM pg_stats"
        " WHERE schemaname = %s AND tablename = %s AND attname = %s",
        [table.schema, table.name, JOBS.column("status")],
    )
    return {status for (status,) in common}


def _index_leads_with_status(table: Table) -> bool:
    return bool(
        catalog.rows(
            "SELECT 1 FROM pg_index WHERE indrelid = %s AND indisvalid AND indpred IS NULL AND indkey[0] ="
            " (SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = %s)",
            [table.oid, JOBS.column("status")],
        )
    )


def _severity(refused: list[Status]) -> Severity:
    return Severity.WARNING if DISPENSABLE.issuperset(refused) else Severity.BLOCKER


def _list(statuses: list[Status] | list[str]) -> str:
    return ", ".join(dict.fromkeys(literal(_word(status)) for status in statuses))
