"""The database session of a worker: the server ends it soon after the worker's host has vanished (I13).

The settings are statements, not options of the connection, because poolers refuse those. A pooler that gives each
transaction another session may lose them; there the defaults of the role count (docs/workers.md).
"""

from __future__ import annotations

from django.db import connection

from jobs.models.worker import stale_after

# As ``opsconsole.kit.database_url.KEEPALIVES``, for the server's end of the connection.
_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_IDLE = "idle_in_transaction_session_timeout"


def limit() -> object:
    """Set the limits on the current connection; return the connection, to compare it with a later one.

    The library keeps no transaction open, but a handler may. The limit for it is half the threshold, so that its rows
    are free before its run is recovered; a limit of the role or the server stays as it is.
    """
    keepalives = ", ".join("set_config(%s, %s, false)" for _ in _KEEPALIVES)
    pairs = [word for pair in _KEEPALIVES.items() for word in pair]
    idle = f"{int(stale_after().total_seconds() * 500)}ms"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {keepalives}", pairs)
        cursor.execute(
            "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = '0'", [_IDLE, idle, _IDLE]
        )
    return connection.connection
