"""The columns and privileges that the console needs on the contract tables, as data."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.models.columns import column
from opsconsole.kit import job_ids, mapping

TEXT = ("text", "character varying", "character", "citext")
AS_TEXT = (*TEXT, "uuid", "smallint", "integer", "bigint", "enum")
STATUS = (*TEXT, "enum")
WHOLE = ("integer", "smallint", "bigint")
TIME = ("timestamp with time zone",)
TIMES = {
    mapping.WITHOUT_ZONE: ("timestamp without time zone",),
    mapping.EPOCH_SECONDS: ("bigint", "integer"),
    mapping.EPOCH_MILLISECONDS: ("bigint",),
}
UUID = ("uuid",)
# A mapped table may have other ids of workers: they are read as text.
WORKER_ID = AS_TEXT if mapping.current().worker_heartbeats.reads_otherwise else TEXT
# Any length of text is an id.
JOB_ID = TEXT if job_ids.TYPE == "text" else (job_ids.TYPE,)
JSONB = ("jsonb",)
# The console makes a text id itself; a number only the database can give.
NUMBERED = job_ids.TYPE in {"bigint", "integer"}
_ID_DEFAULT = "gen_random_uuid()" if job_ids.TYPE == "uuid" else ""


@dataclass(frozen=True)
class WantedColumn:
    """A column: its name in the contract, the accepted types (the first is the one to add) and its default.

    ``null``: True when the console writes NULL, False when it can't read NULL, None when both are fine.
    ``ours``: migrate adds it. ``otherwise``: names that existing databases use for the same column.
    """

    name: str
    types: tuple[str, ...]
    null: bool | None = None
    default: str = ""
    ours: bool = False
    otherwise: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contract:
    table: str
    columns: tuple[WantedColumn, ...]
    privileges: tuple[str, ...]

    @property
    def sql(self) -> str:
        """Return the table for a statement, as this database calls it."""
        return mapping.current().sql(self.table)

    def accepted(self, wanted: WantedColumn) -> tuple[str, ...]:
        """Return the types that the column may have in this database."""
        time = mapping.current().table(self.table).times.get(wanted.name)
        return wanted.types if time is None else TIMES[time.kind]

    def default(self, wanted: WantedColumn) -> str:
        """Return the default that the column should have, in the word and the type of this database; '' for none."""
        mapped = mapping.current().table(self.table)
        if isinstance(mapped, mapping.Jobs) and wanted.name == "status":
            return mapping.literal(mapped.words(mapping.PENDING)[0])
        return mapped.to_write(wanted.name, wanted.default) if wanted.default else ""

    def is_numbered(self, wanted: WantedColumn) -> bool:
        """Tell whether the column is an id that only the database can give."""
        return NUMBERED and (self.table, wanted.name) == ("jobs", "id")

    def actual(self, wanted: WantedColumn) -> str:
        """Return the name of the column in this database, according to the mapping."""
        return column(f"{self.table}.{wanted.name}")


JOBS = Contract(
    "jobs",
    (
        WantedColumn("id", JOB_ID, null=False, default=_ID_DEFAULT),
        WantedColumn(
            "customer_id", AS_TEXT, otherwise=("client_ref", "client_id", "customer", "account_id", "user_id")
        ),
        WantedColumn("package_size", WHOLE, otherwise=("size", "package", "directory_count", "quantity")),
        WantedColumn(
            "priority_level", AS_TEXT, default="'starter'", otherwise=("priority", "tier", "plan", "level")
        ),
        WantedColumn("status", STATUS, null=False, default="'pending'"),
        WantedColumn("error_message", TEXT, null=True),
        WantedColumn("created_at", TIME, null=False, default="now()"),
        WantedColumn("updated_at", TIME, null=False, default="now()"),
        WantedColumn("started_at", TIME, null=True),
        WantedColumn("completed_at", TIME, null=True),
        WantedColumn("queue", TEXT, null=False, default="'default'", ours=True),
        WantedColumn("run_epoch", WHOLE, null=False, default="1", ours=True),
        WantedColumn("claimed_epoch", WHOLE, null=True, ours=True),
        WantedColumn("recovery_count", WHOLE, null=False, default="0", ours=True),
        WantedColumn("attempts", WHOLE, null=False, default="0", ours=True),
        WantedColumn("not_before", TIME, null=True, ours=True),
        WantedColumn("deadline_at", TIME, null=True, ours=True),
        WantedColumn("worker_id", TEXT, null=True, ours=True),
        WantedColumn("claimed_by_key", TEXT, null=True, ours=True),
        WantedColumn("payload", JSONB, null=False, default="'{}'", ours=True),
    ),
    ("SELECT", "INSERT", "UPDATE"),
)

HEARTBEATS = Contract(
    "worker_heartbeats",
    (
        WantedColumn("worker_id", WORKER_ID, null=False),
        WantedColumn("current_job_id", JOB_ID, null=True),
        WantedColumn(
            "last_heartbeat",
            TIME,
            null=False,
            default="now()",
            otherwise=("last_seen", "last_seen_at", "heartbeat_at", "last_beat", "last_ping", "updated_at"),
        ),
        WantedColumn("current_run_epoch", WHOLE, null=True, ours=True),
        WantedColumn("started_at", TIME, null=True, ours=True),
        WantedColumn("hostname", TEXT, null=True, ours=True),
        WantedColumn("pid", WHOLE, null=True, ours=True),
        WantedColumn("metadata", JSONB, null=False, default="'{}'", ours=True),
    ),
    ("SELECT", "INSERT", "UPDATE", "DELETE"),
)

RATE_LIMIT_REQUESTS = Contract(
    "rate_limit_requests",
    (
        WantedColumn("id", UUID, null=False, default="gen_random_uuid()"),
        WantedColumn("key", TEXT),
        WantedColumn("endpoint", TEXT),
        WantedColumn("method", TEXT),
        WantedColumn("created_at", TIME, null=False, default="now()"),
        WantedColumn("hits", WHOLE, null=False, default="1", ours=True),
        WantedColumn("outcome", TEXT, null=False, default="''", ours=True),
        WantedColumn("policy", TEXT, null=False, default="''", ours=True),
    ),
    ("SELECT", "INSERT", "UPDATE", "DELETE"),
)

CONTRACTS = (JOBS, HEARTBEATS, RATE_LIMIT_REQUESTS)
