"""Old transactions: what keeps PostgreSQL from cleaning the tables of the queue, for how long, and the SQL that ends it.

VACUUM removes a dead row when no transaction can see it any more. One that began long ago and still runs, a prepared
one, a replication slot or a query on a standby holds back all tables of the database: statements that take the next
messages then read every row that was ever taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from jobs.models.columns import JOBS
from opsconsole.kit.counting import figure
from opsconsole.kit.durations import spell

# As many dead rows as an ordinary pause between two turns of autovacuum leaves do no harm.
HARMLESS_DEAD_ROWS = 1_000
LONG_AGO = timedelta(minutes=15)

# Who holds the oldest transaction id. The sessions of other databases do not count, those of VACUUM hold nothing back,
# and the senders to standbys stand in a view of their own.
_OLDEST = """
WITH holder AS (
    SELECT 'session' AS kind, pid::text AS name, coalesce(usename::text, '') AS role,
           coalesce(application_name, '') AS application, coalesce(state, '') AS state, xact_start AS since,
           CASE WHEN age(backend_xid) >= age(backend_xmin) THEN backend_xid ELSE coalesce(backend_xmin, backend_xid) END AS oldest
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(backend_xmin, backend_xid) IS NOT NULL
       AND backend_type IS DISTINCT FROM 'autovacuum worker'
       AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
       AND pid NOT IN (SELECT pid FROM pg_stat_replication)
    UNION ALL
    SELECT 'prepared', gid, owner::text, '', '', prepared, transaction
      FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'slot', slot_name::text, '', '', CASE WHEN active THEN 'active' ELSE '' END, NULL, xmin
      FROM pg_replication_slots WHERE xmin IS NOT NULL
    UNION ALL
    SELECT 'standby', pid::text, coalesce(usename::text, ''), coalesce(application_name, ''), '', NULL, backend_xmin
      FROM pg_stat_replication WHERE backend_xmin IS NOT NULL
)
SELECT kind, name, role, application, state, since, oldest::text, age(oldest), quote_literal(name), statement_timestamp()
  FROM holder ORDER BY age(oldest) DESC, since LIMIT 1
"""
# When a transaction id was the newest one, or soon after: the first sweep that was written with a later one. A row that a
# restore wrote has a later id than those who hold back now, so that nothing is concluded from it.
_FIRST_SWEEP_AFTER = """
SELECT CASE WHEN earlier.id IS NOT NULL
            THEN coalesce((SELECT min(started_at) FROM sweeps WHERE sweeps.id > earlier.id), statement_timestamp()) END
  FROM (SELECT max(id) AS id FROM sweeps WHERE age(xmin) > age(%s::text::xid)) AS earlier
"""
_DEAD_ROWS = """
WITH wanted AS (SELECT to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name),
     part AS (SELECT oid FROM wanted UNION
              SELECT tree.relid::oid FROM wanted CROSS JOIN pg_partition_tree(wanted.oid::regclass) AS tree)
SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_all_tables WHERE relid IN (SELECT oid FROM part)
"""


@dataclass(frozen=True)
class Holder:
    """Who holds back the cleaning of all tables. ``since`` is at the latest; None: the server does not tell the console."""

    kind: str
    name: str
    role: str
    application: str
    state: str
    since: datetime | None
    transactions: int
    literal: str
    now: datetime

    @property
    def age(self) -> timedelta | None:
        return max(self.now - self.since, timedelta(0)) if self.since else None

    @property
    def who(self) -> str:
        known = ", ".join(text for text in (self.application, self.state) if text)
        about = f" of role {self.role}" * bool(self.role) + f" ({known})" * bool(known)
        names = {
            "session": f"session {self.name}{about}",
            "prepared": f"the prepared transaction '{self.name}'{about}",
            "slot": f"the replication slot '{self.name}'{about}",
            "standby": f"a query on the standby that session {self.name}{about} serves",
        }
        return names[self.kind]

    @property
    def sentence(self) -> str:
        since = f"for at least {spell(self.age)}" if self.age is not None else "for an unknown time"
        return f"{self.who} has kept dead rows from being removed {since} ({figure(self.transactions)} transactions)"

    @property
    def ending(self) -> str:
        """Return the SQL that ends it, and what that costs."""
        match self.kind:
            case "session":
                return f"SELECT pg_terminate_backend({self.name});"
            case "prepared":
                return f"COMMIT PREPARED {self.literal}; or ROLLBACK PREPARED {self.literal}; as its transaction manager decides."
            case "slot" if not self.state:
                return (
                    f"SELECT pg_drop_replication_slot({self.literal}); Whoever uses it must be set up anew."
                )
        return (
            "On the standby, end its oldest query (xact_start in pg_stat_activity), or: ALTER SYSTEM SET hot_standby_feedback = off; "
            "SELECT pg_reload_conf();"
        )


@dataclass(frozen=True)
class Obstacle:
    """Who holds back most, if anybody does, and how many dead rows lie in the tables of the queue."""

    holder: Holder | None
    dead_rows: int

    @property
    def does_harm(self) -> bool:
        return self.holder is not None and self.dead_rows > HARMLESS_DEAD_ROWS

    @property
    def age(self) -> timedelta | None:
        """Return for how long the cleaning has been held back with harm; None if that is unknown."""
        return self.holder.age if self.holder and self.does_harm else timedelta(0)

    @property
    def sentence(self) -> str:
        holder = self.holder.sentence if self.holder else "nobody keeps dead rows from being removed"
        return f"{holder}; {figure(self.dead_rows)} lie in the tables of jobs and outgoing messages"


WHY_UNKNOWN = (
    "Since when a transaction is open is hidden from the console's role: GRANT pg_read_all_stats to it."
)


def present() -> Obstacle:
    """Read who holds back the cleaning now."""
    with connection.cursor() as cursor:
        cursor.execute(_DEAD_ROWS, [["outbox", JOBS.sql]])
        dead_rows: int = cursor.fetchone()[0]
        cursor.execute(_OLDEST)
        row = cursor.fetchone()
        if row is None:
            return Obstacle(None, dead_rows)
        kind, name, role, application, state, started, oldest, transactions, literal, now = row
        since = _since(cursor, started, oldest)
    holder = Holder(kind, name, role, application, state, since, transactions, literal, now)
    return Obstacle(holder, dead_rows)


def _since(cursor: Any, started: datetime | None, oldest: str) -> datetime | None:
    """Return since when this transaction id is held, at the latest.

    A long transaction may hold only what its latest statement sees, so that its start alone says too much.
    """
    cursor.execute("SELECT to_regclass('sweeps') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return started
    cursor.execute(_FIRST_SWEEP_AFTER, [oldest])
    first_sweep: datetime | None = cursor.fetchone()[0]
    return max((each for each in (started, first_sweep) if each), default=None)
