"""What identifies the database server and how far its data has come: what a restore or a failover changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db import DatabaseError, connection, transaction

from opsconsole.kit import one_statement
from opsconsole.kit.one_statement import Reading

_BY_CONTROL_FILE = """
SELECT (SELECT system_identifier::text FROM pg_control_system()), (SELECT timeline_id FROM pg_control_checkpoint())
"""
# The first eight digits of a WAL file's name are its timeline.
# The last number that a table gave out. A restore takes it back; retention, or a table that somebody empties, does not.
_LAST_NUMBER = """
SELECT CASE WHEN has_sequence_privilege(sequence, 'USAGE, SELECT') THEN coalesce(pg_sequence_last_value(sequence), 0) END
  FROM (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS sequence) AS own
"""
_HIGHEST_KEPT = "SELECT max(id) FROM {}"
_NUMBERED = ("sweeps", "job_events")
_BY_WAL_NAME = "SELECT NULL, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"


@dataclass(frozen=True)
class Position:
    """A server and the newest rows that its data ever had. None: the server does not tell, or there was no such row."""

    system_identifier: str | None = None
    timeline: int | None = None
    newest_sweep: int | None = None
    newest_event: int | None = None
    fence: int | None = None

    def as_mark(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_mark(cls, mark: dict[str, Any]) -> Position:
        """Return the position of a mark, which an older or newer version may have written."""
        return cls(**{name: mark.get(name) for name in cls.__dataclass_fields__})


def position(fence: int | None) -> Position:
    """Read the position of the database."""
    system_identifier, timeline = _identity()
    read = one_statement.read(
        **{f"given_out_{table}": Reading(_LAST_NUMBER, (table,), _as_it_is) for table in _NUMBERED},
        **{f"kept_{table}": Reading(_HIGHEST_KEPT.format(table), (), _as_it_is) for table in _NUMBERED},
    )
    # The highest number that a row of each table ever had, though it may be deleted by now; 0 for none. None: the server does not
    # tell, and there is no row.
    newest_sweep, newest_event = (
        max(
            (read[name] for name in (f"given_out_{table}", f"kept_{table}") if read[name] is not None),
            default=None,
        )
        for table in _NUMBERED
    )
    return Position(system_identifier, timeline, newest_sweep, newest_event, fence)


def _as_it_is(number: int | None) -> int | None:
    return number


def _identity() -> tuple[str | None, int | None]:
    """Return the system identifier and the timeline. A hosted server may refuse one or both functions."""
    for statement in (_BY_CONTROL_FILE, _BY_WAL_NAME):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
                system_identifier, timeline = cursor.fetchone()
                return system_identifier, timeline
        except DatabaseError:
            continue
    return None, None


def differences(remembered: Position, now: Position) -> list[str]:
    """Return the signs of a restore or failover between two positions. Pure; what is unknown is no sign."""
    signs = []
    if _changed(remembered.system_identifier, now.system_identifier):
        signs.append(
            f"The database is on another server: its system identifier was {remembered.system_identifier}, "
            f"now it is {now.system_identifier}."
        )
    elif _changed(remembered.timeline, now.timeline):
        signs.append(
            f"The server was restored, or a standby was promoted: its timeline was {remembered.timeline}, "
            f"now it is {now.timeline}."
        )
    for what, before, after in (
        ("sweep", remembered.newest_sweep, now.newest_sweep),
        ("event of a timeline", remembered.newest_event, now.newest_event),
    ):
        # Unknown for an empty table whose sequence can't be read: its rows may have been deleted.
        if before is not None and after is not None and after < before:
            signs.append(f"The data went back: the newest {what} was {before}, now it is {after or 'none'}.")
    return signs


def _changed(before: object, after: object) -> bool:
    return before is not None and after is not None and before != after
