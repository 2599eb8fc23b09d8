"""What the console writes, held against each CHECK of the contract tables and each domain of their columns.

Nothing is written: an expression is evaluated on a row of theirs, or a made-up one, with the values that each step would write.
Those that refuse a status whatever else is written are the subject of ``jobs.inspection.statuses``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, IntegrityError, transaction

from jobs.inspection import catalog, statuses
from jobs.inspection.finding import Finding, Severity
from jobs.models import Status
from jobs.models.columns import HEARTBEATS, JOBS
from jobs.recovery.rescue import QUARANTINED_MESSAGE, RECOVERED_MESSAGE
from opsconsole.kit.mapping import literal

if TYPE_CHECKING:
    from jobs.inspection.catalog import Table as Present
    from opsconsole.kit.mapping import Table

_NOW, _WORKER = "statement_timestamp()", literal("opsconsole-inspection")
_RESTARTED = {
    "started_at": "NULL",
    "completed_at": "NULL",
    "worker_id": "NULL",
    "claimed_epoch": "NULL",
    "not_before": "NULL",
    "run_epoch": "2",
    "updated_at": _NOW,
}
_STARTED = {
    "started_at": _NOW,
    "completed_at": "NULL",
    "worker_id": _WORKER,
    "claimed_epoch": "2",
    "run_epoch": "2",
    "updated_at": _NOW,
}
# A name that no column of theirs has.
_ROW = "opsconsole_row"
_CHECKS = """
SELECT quote_ident(conname), pg_get_expr(conbin, conrelid),
       (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey))
  FROM pg_constraint WHERE conrelid = %s AND contype = 'c' AND conkey IS NOT NULL ORDER BY conname
"""


@dataclass(frozen=True)
class Step:
    """What the console does to a row, and the SQL of each value that it writes, by the column's name in the contract."""

    name: str
    values: Mapping[str, str]
    status: Status | None = None
    table: Table = field(default=JOBS)

    def written(self, present: Present) -> dict[str, str]:
        """Return the values by the columns that the table has, in the types that it holds."""
        values = dict(self.values)
        if self.status is not None:
            values["status"] = literal(JOBS.written(self.status) or "")
        return {
            self.table.column(name): self.table.to_write(name, value)
            for name, value in values.items()
            if name not in self.table.absent_columns and self.table.column(name) in present.columns
        }

    def beside(self) -> dict[str, str]:
        """Return what else the row has then: a restart emptied their columns of one run. A run that they began is quarantined."""
        if self.table is not JOBS or self.status in {Status.QUARANTINED, Status.CANCELLED}:
            return {}
        return JOBS.cleared_of_theirs


_STEPS = (
    Step("requeues a job", _RESTARTED, Status.PENDING),
    Step("recovers a run", _RESTARTED | {"error_message": literal(RECOVERED_MESSAGE)}, Status.PENDING),
    Step("claims a job", _STARTED, Status.IN_PROGRESS),
    Step(
        "completes a run",
        _STARTED | {"completed_at": _NOW, "error_message": "NULL"},
        Status.COMPLETED,
    ),
    Step("fails a run", _STARTED | {"error_message": literal("What went wrong.")}, Status.FAILED),
    Step("quarantines a job", _STARTED | {"error_message": literal(QUARANTINED_MESSAGE)}, Status.QUARANTINED),
    Step("cancels a job", {"completed_at": "NULL", "updated_at": _NOW}, Status.CANCELLED),
    Step(
        "writes a heartbeat",
        {
            "worker_id": _WORKER,
            "current_job_id": "NULL",
            "last_heartbeat": _NOW,
            "current_run_epoch": "NULL",
            "started_at": _NOW,
            "hostname": literal("host-1.example.com"),
            "pid": "4711",
            "metadata": "'{}'::jsonb",
        },
        table=HEARTBEATS,
    ),
)


def inspect(of: Table, present: Present) -> Iterator[Finding]:
    """Find the constraints that refuse a step, each once, with the columns that it is about."""
    steps = [
        step
        for step in _STEPS
        if step.table is of and (step.status is None or JOBS.written(step.status) is not None)
    ]
    for name, expression, columns in catalog.rows(_CHECKS, [present.oid]):
        refused = [
            step
            for step in steps
            if set(columns or ()) & step.written(present).keys() and _refuses(of, present, expression, step)
        ]
        # A status that is refused with any values is a finding already.
        on_status = of is JOBS and of.column("status") in columns
        if refused and not (on_status and statuses.is_refused_by(present, expression)):
            yield _of_check(of, present, refused, name, expression, columns)
    yield from _of_domains(of, present, steps)


def _refuses(of: Table, present: Present, expression: str, step: Step) -> bool:
    pairs = [(literal(name), value) for name, value in step.written(present).items()]
    pairs += [(literal(quoted[1:-1].replace('""', '"')), value) for quoted, value in step.beside().items()]
    values = ", ".join(f"{name}, {value}" for name, value in pairs)

    def asked(base: str) -> list[tuple[Any, ...]] | None:
        # A CHECK that is NULL accepts the row.
        return _ask(
            f"SELECT ({expression}) IS FALSE"
            f"  FROM (SELECT (jsonb_populate_record(base.{_ROW}, jsonb_build_object({values}))).*"
            f"          FROM ({base}) AS base) AS {of.contract}"
        )

    theirs, made_up = f"SELECT {_ROW} FROM {of.sql} AS {_ROW} LIMIT 1", f"SELECT NULL::{of.sql} AS {_ROW}"
    answer = asked(theirs) or asked(made_up)
    return bool(answer and answer[0][0])


def _ask(statement: str) -> list[tuple[Any, ...]] | None:
    """Return the rows of a statement; None where the expression can't be evaluated: the trial on a job tells then."""
    try:
        with transaction.atomic():
            return catalog.look(statement)
    except DatabaseError:
        return None


def _of_check(
    of: Table, present: Present, refused: list[Step], name: str, expression: str, columns: list[str]
) -> Finding:
    written = [column for column in columns if any(column in step.written(present) for step in refused)]
    status = of.column("status")
    subject = next((column for column in written if column != status), written[0])
    return _refused(
        of,
        subject,
        refused,
        f"the constraint {name} refuses what the console writes to {', '.join(written)} when it "
        f"{', '.join(step.name for step in refused)}: {expression}",
        f"Change it so that it accepts these values, or: ALTER TABLE {of.sql} DROP CONSTRAINT {name};",
    )


def _of_domains(of: Table, present: Present, steps: list[Step]) -> Iterator[Finding]:
    """Find the domains of columns that refuse a value. That of the status is the subject of ``jobs.inspection.statuses``."""
    steps_by_constraint: dict[tuple[str, str, str], list[Step]] = {}
    for step in steps:
        for column, value in step.written(present).items():
            declared = present.columns[column].declared
            if column != of.column("status") and (constraint := _refused_by_type(value, declared)):
                steps_by_constraint.setdefault((column, declared, constraint), []).append(step)
    for (column, declared, constraint), refused in steps_by_constraint.items():
        yield _refused(
            of,
            column,
            refused,
            f"the constraint {constraint} of its type {declared} refuses what the console writes when it "
            f"{', '.join(step.name for step in refused)}",
            f"Change it so that it accepts these values, or: ALTER DOMAIN {declared} DROP CONSTRAINT {constraint};",
        )


def _refused_by_type(value: str, declared: str) -> str:
    """Return the constraint of a domain that refuses a value, quoted; '' where none does."""
    try:
        with transaction.atomic():
            catalog.rows(f"SELECT CAST({value} AS {declared})")
    except IntegrityError as error:
        diagnostics = getattr(error.__cause__, "diag", None)
        name = getattr(diagnostics, "constraint_name", None)
        return str(catalog.value("SELECT quote_ident(%s)", [name])) if name else ""
    except DatabaseError:
        return ""
    return ""


def _refused(of: Table, column: str, refused: list[Step], found: str, action: str) -> Finding:
    dispensable = all(step.status in statuses.DISPENSABLE for step in refused)
    return Finding(
        id="column-check",
        severity=Severity.WARNING if dispensable else Severity.BLOCKER,
        subject=f"{of.contract}.{column}",
        found=found,
        wanted="a row that the console can change",
        action=action,
    )
