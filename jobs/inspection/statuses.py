"""Statuses: whether the table accepts those that the console writes, and which others it has.

Nothing is written: each CHECK is evaluated on a made-up row of the table's type for each status, as the console would
write it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import DataError, IntegrityError, transaction

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from jobs.models import Status
from jobs.models.columns import column
from opsconsole.kit.bounded_columns import cut_in_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table

MOST_STATUSES = 50
EPOCH = datetime(2000, 1, 1, tzinfo=UTC).isoformat()
# Without these two, operators can't cancel jobs and sweeps can't quarantine them; everything else works.
DISPENSABLE = {Status.QUARANTINED, Status.CANCELLED}
STARTED = {Status.IN_PROGRESS, Status.COMPLETED, Status.FAILED, Status.QUARANTINED}
EXPLAINED = {Status.FAILED, Status.QUARANTINED}


def inspect(table: Table) -> Iterator[Finding]:
    accepted = [status for status in Status if _type_accepts(status)]
    refused = [status for status in Status if status not in accepted]
    if refused:
        yield _refused_by_type(table, refused)
    yield from _refused_by_checks(table, accepted)
    yield from _refused_by_lookup(table, accepted)
    yield from _initial(table)
    yield from _unknown(table)


def _row(status: str) -> str:
    """Return the columns of a job with this status, as the console would write them, as JSON."""
    row = {"status": status, "created_at": EPOCH, "updated_at": EPOCH, column("jobs.package_size"): 1}
    if status in STARTED:
        row["started_at"] = EPOCH
    if status == Status.COMPLETED:
        row["completed_at"] = EPOCH
    if status in EXPLAINED:
        row["error_message"] = "What went wrong."
    return json.dumps(row)


def _type_accepts(status: str) -> bool:
    try:
        with transaction.atomic():
            catalog.rows("SELECT (jsonb_populate_record(NULL::jobs, %s)).status", [_row(status)])
    except (DataError, IntegrityError):
        return False
    return True


def _refused_by_type(table: Table, refused: list[Status]) -> Finding:
    present = table.columns["status"]
    if present.type == "enum":
        action = " ".join(f"ALTER TYPE {present.declared} ADD VALUE '{status}';" for status in refused)
    else:
        action = "ALTER TABLE jobs ALTER COLUMN status TYPE text;"
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
        "   AND (SELECT attnum FROM pg_attribute WHERE attrelid = conrelid AND attname = 'status') = ANY (conkey)"
        " ORDER BY conname",
        [table.oid],
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
                action=f"ALTER TABLE jobs DROP CONSTRAINT {name}, ADD CONSTRAINT {name} "
                f"CHECK (({expression}) OR status::text IN ({_list(refused)})) NOT VALID; "
                f"ALTER TABLE jobs VALIDATE CONSTRAINT {name};",
            )


def _refuses(expression: str, status: str) -> bool:
    # A CHECK that is NULL accepts the row. The expression comes from the catalogue and may contain %: pass no parameters.
    made_up = f"SELECT (jsonb_populate_record(NULL::jobs, '{_row(status)}')).*"
    return bool(catalog.value(f"SELECT ({expression}) IS FALSE FROM ({made_up}) AS jobs"))


def _refused_by_lookup(table: Table, statuses: list[Status]) -> Iterator[Finding]:
    references = catalog.rows(
        "SELECT c.confrelid::regclass::text, quote_ident(a.attname) FROM pg_constraint c"
        "  JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = c.confkey[1]"
        " WHERE c.conrelid = %s AND c.contype = 'f' AND c.conkey ="
        "       ARRAY[(SELECT attnum FROM pg_attribute WHERE attrelid = c.conrelid AND attname = 'status')]",
        [table.oid],
    )
    for lookup, key in references:
        known = catalog.look(f"SELECT {key}::text FROM {lookup}") or []
        refused = [status for status in statuses if (status,) not in known]
        if refused:
            values = ", ".join(f"('{status}')" for status in refused)
            yield Finding(
                id="status-lookup",
                severity=_severity(refused),
                subject="jobs.status",
                found=f"it refers to {lookup}.{key}, which lacks {_list(refused)}",
                wanted=f"{_list(refused)} in {lookup}",
                action=f"INSERT INTO {lookup} ({key}) VALUES {values};",
            )


def _initial(table: Table) -> Iterator[Finding]:
    default = table.columns["status"].default
    if default and "'pending'" not in default:
        yield Finding(
            id="status-default",
            severity=Severity.WARNING,
            subject="jobs.status",
            found=f"its default is {default}: no worker of the console claims a job that is inserted without a status",
            wanted="DEFAULT 'pending'",
            action="ALTER TABLE jobs ALTER COLUMN status SET DEFAULT 'pending'; or insert the status.",
        )


def _unknown(table: Table) -> Iterator[Finding]:
    seen = _present(table)
    unknown = sorted(status for status in seen if status not in set(Status))
    if unknown:
        yield Finding(
            id="status-unknown",
            severity=Severity.INFO if Status.IN_PROGRESS in seen else Severity.WARNING,
            subject="jobs.status",
            found=f"there are jobs with {_list(unknown)}: the console shows them as they are and leaves them alone"
            + (
                "" if Status.IN_PROGRESS in seen else "; none is in_progress, the status that recovery checks"
            ),
            action="Nothing, if the status is in_progress during every run.",
        )


def _present(table: Table) -> set[str]:
    """Return the statuses in the table, by steps along an index or else the common ones from the statistics."""
    if _index_leads_with_status(table):
        steps = catalog.look(
            "WITH RECURSIVE seen (status, n) AS ("
            "  (SELECT status, 1 FROM jobs ORDER BY status LIMIT 1)"
            "  UNION ALL SELECT (SELECT j.status FROM jobs j WHERE j.status > seen.status ORDER BY j.status LIMIT 1),"
            "                   n + 1 FROM seen WHERE seen.status IS NOT NULL AND n < %s"
            f") SELECT {cut_in_statement('status')} FROM seen WHERE status IS NOT NULL",
            [MOST_STATUSES],
        )
        if steps is not None:
            return {status for (status,) in steps}
    common = catalog.rows(
        "SELECT unnest(most_common_vals::text::text[]) FROM pg_stats"
        " WHERE schemaname = %s AND tablename = %s AND attname = 'status'",
        [table.schema, table.name],
    )
    return {status for (status,) in common}


def _index_leads_with_status(table: Table) -> bool:
    return bool(
        catalog.rows(
            "SELECT 1 FROM pg_index WHERE indrelid = %s AND indisvalid AND indpred IS NULL AND indkey[0] ="
            " (SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = 'status')",
            [table.oid],
        )
    )


def _severity(refused: list[Status]) -> Severity:
    return Severity.WARNING if DISPENSABLE.issuperset(refused) else Severity.BLOCKER


def _list(statuses: list[Status] | list[str]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)
