"""The database session of a worker: the server ends it soon after the worker's host has vanished (I13).

The settings are statements, not options of the connection, because poolers refuse those. A pooler that gives each
transaction another session may lose them; there the defaults of the role count (docs/workers.md).
"""

from __future__ import annotations

from opsconsole_worker import settings
from opsconsole_worker.database import door

# As ``KEEPALIVES of the client``, for the server's end of the connection.
_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_IDLE = "idle_in_transaction_session_timeout"
_LIMITS = ", ".join(f"set_config('{name}', %({name})s, false)" for name in _KEEPALIVES)
_NO_LIMIT = f"current_setting('{_IDLE}') = '0'"


def limit() -> object:
    """Set the limits on the current connection; return the connection, to compare it with a later one.

    The library keeps no transaction open, but a handler may. The limit for it is half the threshold, so that its rows
    are free before its run is recovered; a limit of the role or the server stays as it is.
    """
    idle = f"{int(settings.current().stale_after.total_seconds() * 500)}ms"
    parameters = {"idle": idle} | _KEEPALIVES
    door.run(f"SELECT {_LIMITS}; SELECT set_config('{_IDLE}', %(idle)s, false) WHERE {_NO_LIMIT}", parameters)
    return door.current().session
