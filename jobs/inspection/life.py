"""The sign by which a run counts as alive: whether its column is there, and whether it moves while jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.contract import AS_TEXT, TIME, TIMES
from jobs.inspection.finding import Finding, Severity
from jobs.models.columns import JOBS
from jobs.models.worker import stale_after
from jobs.runs import life_wording
from opsconsole.kit import mapping, mapping_version
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table

MOST_RUNS = 1_000
# Less than this share of long runs that show a sign after their first minute means that workers may not renew it.
MOVING_SHARE = 0.5


def inspect(table: Table, *, attached: bool) -> Iterator[Finding]:
    missing = [*_missing(table)]
    yield from missing
    yield Finding(
        id="life",
        severity=Severity.OK,
        subject="jobs",
        found=f"life is told by {JOBS.life.told_by}: {life_wording.promise().rstrip('.')}",
    )
    times = {JOBS.column(name) for name in ("started_at", "updated_at") if JOBS.has(name)}
    if not missing and JOBS.life_at() and JOBS.has("started_at") and times <= table.columns.keys():
        yield from _standing_still(attached=attached)


def inspect_mapping() -> Iterator[Finding]:
    """Find a mapping that changed after migrate built it into functions and indexes."""
    if mapping_version.has_changed():
        yield Finding(
            id="mapping-changed",
            severity=Severity.BLOCKER,
            subject="OPSCONSOLE_MAPPING",
            found=mapping_version.SENTENCE.rstrip("."),
            action=mapping_version.ACTION,
        )


def _missing(table: Table) -> Iterator[Finding]:
    """Find columns that the mapping names for life, and that are not there or hold something else."""
    time = JOBS.life_time
    wanted = {JOBS.life.column: TIMES[time.kind] if time else TIME, JOBS.life.worker: AS_TEXT}
    for name, types in wanted.items():
        present = table.columns.get(name) if name else None
        if name and (present is None or present.type not in types):
            yield Finding(
                id="life-column",
                severity=Severity.BLOCKER,
                subject=f"jobs.{name}",
                found=f"its type is {present.declared}" if present else "there is no such column",
                wanted=" or ".join(types),
                action="Correct [jobs.life] in the file that OPSCONSOLE_MAPPING names: column and worker are names of your columns, "
                f"time is one of {mapping.WITH_ZONE}, {', '.join(mapping.TIME_KINDS)}.",
            )


def _standing_still(*, attached: bool) -> Iterator[Finding]:
    """Find long runs of which no sign came after their first minute: workers may be alive and not renew it."""
    foreign = " AND claimed_epoch IS NULL" if attached else ""
    began, told_at = JOBS.read("started_at"), JOBS.life_at()
    long_ago = f"{began} < now() - make_interval(secs => {stale_after().total_seconds():g})"
    seen = catalog.look(
        f"SELECT count(*), count(*) FILTER (WHERE moved) FROM (SELECT {told_at} > {began} + interval '1 minute' AS moved"
        f" FROM {JOBS.sql} WHERE {JOBS.is_status(mapping.IN_PROGRESS)} AND {long_ago}{foreign} LIMIT {MOST_RUNS}) AS run"
    )
    runs, moving = seen[0] if seen else (0, 0)
    if runs and moving < runs * MOVING_SHARE:
        yield Finding(
            id="life-stands-still",
            severity=Severity.WARNING,
            subject=f"jobs.{JOBS.life.column or JOBS.column('updated_at')}",
            found=f"of {exactly(runs, 'job')} that began more than {spell(stale_after())} ago and run, it has changed "
            f"on {moving:,} since their first minute: living runs would be taken if workers do not renew it",
            wanted="a time that each worker renews during a run",
            action='Let workers renew it, or write another told_by under [jobs.life], such as "visibility".',
        )
