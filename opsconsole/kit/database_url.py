"""The conversion of a database URL to Django's connection settings."""

from __future__ import annotations

from typing import Any

import environ

# A connection that a firewall or a failover dropped silently ends within a minute instead of the kernel's quarter of an
# hour: a heartbeat that waits for it would make its run stale. The URL can override this.
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Said by each transaction, because the default of a database, or of a pooler's session, may be another: under REPEATABLE
# READ a sweep would not see the heartbeat that was committed after it locked the run. The number is
# psycopg.IsolationLevel.READ_COMMITTED: the settings are read before anything heavy is imported.
ISOLATION = {"isolation_level": 2}


def to_database(url: str) -> dict[str, Any]:
    """Return the entry for DATABASES."""
    named: dict[str, Any] = environ.Env.db_url_config(url)
    options = named.pop("OPTIONS", {})
    return named | {
        "ENGINE": "opsconsole.kit.postgresql",
        # The folder of a Unix socket is given as ?host=/folder; Django's own tools expect it here.
        "HOST": options.pop("host", named["HOST"]),
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # A pooler may use another session for each transaction.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"application_name": "opsconsole", "connect_timeout": 5}
        | KEEPALIVES
        | options
        | ISOLATION,
    }
