"""How the contract tables are shaped in this database: their names, their columns, their types and their status words.

``opsconsole.kit.mapping_file`` makes one frozen object of the file that OPSCONSOLE_MAPPING names, and ``current()`` returns
it. Models, SQL,
migrations and the inspector ask it; nothing else knows the name of a column or a status word of somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from types import MappingProxyType

from django.conf import settings

PENDING, IN_PROGRESS, COMPLETED, FAILED = "pending", "in_progress", "completed", "failed"
CANCELLED, QUARANTINED = "cancelled", "quarantined"
STATUSES = (PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, QUARANTINED)
# A database that lacks a word for these ends such jobs with its word for a failed one.
WRITTEN_AS_FAILED = frozenset({CANCELLED, QUARANTINED})
ID_TYPES = ("uuid", "bigint", "integer", "text")
WITHOUT_ZONE, EPOCH_SECONDS, EPOCH_MILLISECONDS = "without_zone", "epoch_seconds", "epoch_milliseconds"
TIME_KINDS = (WITHOUT_ZONE, EPOCH_SECONDS, EPOCH_MILLISECONDS)
LONGEST_WORD = 200
LIVES = ("beats", "worker_beats", "job_column", "updated_at", "visibility")

# The columns that are others'.
CONTRACT_COLUMNS: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": (
            "id",
            "customer_id",
            "package_size",
            "priority_level",
            "status",
            "error_message",
            "created_at",
            "updated_at",
            "started_at",
            "completed_at",
        ),
        "worker_heartbeats": ("worker_id", "current_job_id", "last_heartbeat"),
        "rate_limit_requests": ("id", "key", "endpoint", "method", "created_at"),
    }
)
# What the console adds to them, under these names.
OWN_COLUMNS: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": (
            "queue",
            "run_epoch",
            "claimed_epoch",
            "recovery_count",
            "attempts",
            "not_before",
            "deadline_at",
            "worker_id",
            "claimed_by_key",
            "payload",
        ),
        "worker_heartbeats": ("current_run_epoch", "started_at", "hostname", "pid", "metadata"),
        "rate_limit_requests": ("hits", "outcome", "policy"),
    }
)
TIMES: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": ("created_at", "updated_at", "started_at", "completed_at"),
        "worker_heartbeats": ("last_heartbeat",),
        "rate_limit_requests": ("created_at",),
    }
)
# Words that PostgreSQL accepts as a name without quotes. Others are quoted, which is never wrong.
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Time:
    """How a column holds a time, if not as a timestamptz. ``zone``: of a timestamp without a zone."""

    kind: str
    zone: str = "UTC"


@dataclass(frozen=True)
class Table:
    """One contract table. ``contract`` is its name in the contract; the rest is what differs in this database.

    ``schema`` None: the table is found on the search path. ``columns``: contract name -> their name, of those that have
    another one; ``absent_columns``: those that they don't have. ``absent``: there is no such table.
    """

    contract: str
    schema: str | None = None
    table: str | None = None
    columns: Dictionary[str, str] = field(default_factory=lambda: MappingProxyType({}))
    absent_columns: frozenset[str] = frozenset()
    times: Dictionary[str, Time] = field(default_factory=lambda: MappingProxyType({}))
    absent: bool = False

    @property
    def name(self) -> str:
        """Return the name of the table without its schema."""
        return self.table or self.contract

    @property
    def is_renamed(self) -> bool:
        """Tell whether the table has another name, or a schema that must be named."""
        return self.schema is not None or self.name != self.contract

    @property
    def sql(self) -> str:
        """Return the table for a statement, as ``to_regclass`` also reads it: ``jobs`` or ``"JobManager"."Job"``."""
        name = self.name if _PLAIN.fullmatch(self.name) else quoted(self.name)
        return name if self.schema is None else f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def aliased(self) -> str:
        """Return the table for a statement that goes on to call it by its name in the contract."""
        return f"{self.sql} AS {self.contract}" if self.is_renamed else self.sql

    @property
    def db_table(self) -> str:
        """Return the table for ``Meta.db_table``: Django quotes a name unless it begins and ends with a quote."""
        if self.schema is None:
            return self.name
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    def has(self, column: str) -> bool:
        """Tell whether the database has this column of the contract."""
        return not self.absent and column not in self.absent_columns

    def column(self, name: str) -> str:
        """Return their name, unquoted, for a column of the contract."""
        return self.columns.get(name, name)

    def sql_column(self, name: str, of: str = "") -> str:
        """Return a column for a statement in which ``of``, if given, names the row: ``job.status``, ``job."state"``."""
        actual = self.column(name)
        column = actual if actual == name else quoted(actual)
        return f"{of}.{column}" if of else column


@dataclass(frozen=True)
class Life:
    """What tells that a run is alive. ``column``: of the job's row, for ``job_column`` only."""

    told_by: str = "beats"
    column: str | None = None


@dataclass(frozen=True)
class Jobs(Table):
    """The table of jobs. ``statuses``: ours -> the words that are read, the first of which is written."""

    id_type: str = "uuid"
    statuses: Dictionary[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    life: Life = Life()

    @property
    def has_own_words(self) -> bool:
        """Tell whether any status has other words than ours."""
        return any(words != (status,) for status, words in self.statuses.items())

    def words(self, status: str) -> tuple[str, ...]:
        """Return their words that mean this status of ours; none where they have no such status."""
        return self.statuses.get(status, (status,))

    def written(self, status: str) -> str | None:
        """Return the word to write for a status of ours; None where there is none, and the change is refused."""
        words = self.words(status)
        if not words and status in WRITTEN_AS_FAILED:
            words = self.words(FAILED)
        return words[0] if words else None

    def status_of(self, word: str) -> str:
        """Return the status of ours that a word of theirs means, or the word itself if none is known."""
        return next((status for status in STATUSES if word in self.words(status)), word)

    def is_status(self, *statuses: str, of: str = "") -> str:
        """Return the condition, for a statement, that a row has one of these statuses of ours."""
        words = [word for status in statuses for word in self.words(status)]
        column = self.sql_column("status", of)
        if not words:
            return "false"
        literals = ", ".join("'" + word.replace("'", "''") + "'" for word in words)
        return f"{column} = {literals}" if len(words) == 1 else f"{column} IN ({literals})"


@dataclass(frozen=True)
class Mapping:
    """All contract tables of this database. Equal to ``Mapping()`` where nothing differs."""

    jobs: Jobs = Jobs("jobs")
    worker_heartbeats: Table = Table("worker_heartbeats")
    rate_limit_requests: Table = Table("rate_limit_requests")

    def table(self, contract: str) -> Table:
        """Return a table by its name in the contract."""
        tables = {table.contract: table for table in self.tables}
        return tables[contract]

    @property
    def tables(self) -> tuple[Table, ...]:
        return self.jobs, self.worker_heartbeats, self.rate_limit_requests

    def unsupported(self) -> list[str]:
        """Return what this version can't do yet, one sentence each: such a mapping is refused at start."""
        return [*_unsupported(self)]


def _unsupported(mapping: Mapping) -> Iterable[str]:
    jobs = mapping.jobs
    for table in mapping.tables:
        if table.is_renamed:
            yield f"[{table.contract}] schema and table: another schema or name is not supported yet"
        if table.absent:
            yield f"[{table.contract}] absent: a missing table is not supported yet"
        for column in sorted(table.absent_columns):
            yield f"[{table.contract}.columns] {column} = false: a missing column is not supported yet"
        for column in sorted(set(table.columns) - _MAPPED.get(table.contract, frozenset())):
            yield f"[{table.contract}.columns] {column}: another name for it is not supported yet"
        for column in sorted(table.times):
            yield f"[{table.contract}.times] {column}: other times than timestamptz are not supported yet"
    if jobs.id_type != "uuid":
        yield f'[jobs] id_type: "{jobs.id_type}" is not supported yet'
    if jobs.has_own_words:
        yield "[jobs.statuses]: other words are not supported yet"
    if jobs.life != Life():
        yield f'[jobs.life] told_by: "{jobs.life.told_by}" is not supported yet'


# The columns that may have another name; the list grows until it is the whole contract.
_MAPPED: Dictionary[str, frozenset[str]] = MappingProxyType(
    {
        "jobs": frozenset({"customer_id", "package_size", "priority_level"}),
        "worker_heartbeats": frozenset({"last_heartbeat"}),
    }
)


def current() -> Mapping:
    """Return the mapping of this process. It never changes while it runs, since models are made of it at import."""
    mapping: Mapping = settings.OPSCONSOLE_MAPPING
    return mapping
