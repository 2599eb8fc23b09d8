"""The shape that the console needs of the contract's tables, as data."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.models.columns import column

TEXT = ("text", "character varying", "character", "citext")
AS_TEXT = (*TEXT, "uuid", "smallint", "integer", "bigint", "enum")
STATUS = (*TEXT, "enum")
WHOLE = ("integer", "smallint", "bigint")
TIME = ("timestamp with time zone",)
UUID = ("uuid",)
JSONB = ("jsonb",)


@dataclass(frozen=True)
class Wanted:
    """A column: its contract's name, the types that do (the first is the one to add), and its default.

    ``null``: True, the console writes NULL; False, it can't read NULL; None, either does. ``ours``: migrate adds it.
    ``otherwise`` names columns that existing databases use for the same thing.
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
    columns: tuple[Wanted, ...]
    privileges: tuple[str, ...]

    def actual(self, wanted: Wanted) -> str:
        """The column's name in this database, after OPSCONSOLE_COLUMNS."""
        return column(f"{self.table}.{wanted.name}")


JOBS = Contract(
    "jobs",
    (
        Wanted("id", UUID, null=False, default="gen_random_uuid()"),
        Wanted(
            "customer_id", AS_TEXT, otherwise=("client_ref", "client_id", "customer", "account_id", "user_id")
        ),
        Wanted("package_size", WHOLE, otherwise=("size", "package", "directory_count", "quantity")),
        Wanted(
            "priority_level", AS_TEXT, default="'starter'", otherwise=("priority", "tier", "plan", "level")
        ),
        Wanted("status", STATUS, null=False, default="'pending'"),
        Wanted("error_message", TEXT, null=True),
        Wanted("created_at", TIME, null=False, default="now()"),
        Wanted("updated_at", TIME, null=False, default="now()"),
        Wanted("started_at", TIME, null=True),
        Wanted("completed_at", TIME, null=True),
        Wanted("queue", TEXT, null=False, default="'default'", ours=True),
        Wanted("run_epoch", WHOLE, null=False, default="1", ours=True),
        Wanted("claimed_epoch", WHOLE, null=True, ours=True),
        Wanted("recovery_count", WHOLE, null=False, default="0", ours=True),
        Wanted("attempts", WHOLE, null=False, default="0", ours=True),
        Wanted("not_before", TIME, null=True, ours=True),
        Wanted("deadline_at", TIME, null=True, ours=True),
        Wanted("worker_id", TEXT, null=True, ours=True),
        Wanted("payload", JSONB, null=False, default="'{}'", ours=True),
    ),
    ("SELECT", "INSERT", "UPDATE"),
)

HEARTBEATS = Contract(
    "worker_heartbeats",
    (
        Wanted("worker_id", TEXT, null=False),
        Wanted("current_job_id", UUID, null=True),
        Wanted(
            "last_heartbeat",
            TIME,
            null=False,
            default="now()",
            otherwise=("last_seen", "last_seen_at", "heartbeat_at", "last_beat", "last_ping", "updated_at"),
        ),
        Wanted("current_run_epoch", WHOLE, null=True, ours=True),
        Wanted("started_at", TIME, null=True, ours=True),
        Wanted("hostname", TEXT, null=True, ours=True),
        Wanted("pid", WHOLE, null=True, ours=True),
        Wanted("metadata", JSONB, null=False, default="'{}'", ours=True),
    ),
    ("SELECT", "INSERT", "UPDATE", "DELETE"),
)

RATE_LIMIT_REQUESTS = Contract(
    "rate_limit_requests",
    (
        Wanted("id", UUID, null=False, default="gen_random_uuid()"),
        Wanted("key", TEXT),
        Wanted("endpoint", TEXT),
        Wanted("method", TEXT),
        Wanted("created_at", TIME, null=False, default="now()"),
        Wanted("hits", WHOLE, null=False, default="1", ours=True),
        Wanted("outcome", TEXT, null=False, default="''", ours=True),
        Wanted("policy", TEXT, null=False, default="''", ours=True),
    ),
    ("SELECT", "INSERT", "UPDATE", "DELETE"),
)

CONTRACTS = (JOBS, HEARTBEATS, RATE_LIMIT_REQUESTS)
