"""How Django connects to the database that a URL names."""

from __future__ import annotations

from typing import Any

import environ

# A connection that a firewall or a failover dropped without a word is given up within a minute, not in the
# kernel's quarter of an hour: a beat that waits on it would let its run be found stale. The URL may say otherwise.
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def to_database(url: str) -> dict[str, Any]:
    """The entry for DATABASES."""
    named: dict[str, Any] = environ.Env.db_url_config(url)
    options = named.pop("OPTIONS", {})
    return named | {
        # A Unix socket's folder comes as ?host=/folder; Django's own tools look for it here.
        "HOST": options.pop("host", named["HOST"]),
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # A pooler between us and the server hands out another session for each transaction.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"application_name": "opsconsole", "connect_timeout": 5} | KEEPALIVES | options,
    }
