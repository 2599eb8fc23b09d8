"""What a server of the store says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis.exceptions import RedisError, ResponseError

from opsconsole.kit.redis_cluster import as_store_errors
from ratelimits.engine.connections import Connections


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What a store says of itself. ``keeps``: whether a restart keeps the counts; None: it does not say."""

    eviction: str
    keeps: bool | None
    time: datetime


def facts(server: Connections) -> StoreFacts:
    """Ask a server what decides whether it keeps counts, and for its time."""
    information, now = server.alone(("INFO",), ("TIME",))
    with as_store_errors():
        lines = _as_lines(information)
        seconds, microseconds = map(int, now)
        time = datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)
    kept = lines.get("aof_enabled") == "1" or lines.get("connected_slaves", "0") != "0"
    return StoreFacts(
        eviction=lines.get("maxmemory_policy", ""),
        keeps=kept or _saves(server),
        time=time,
    )


def of_all(servers: Sequence[StoreFacts]) -> StoreFacts:
    """Return the worst that these servers say; of their clocks, the one that is furthest from this host's."""
    now = datetime.now(UTC)
    kept = {each.keeps for each in servers}
    return StoreFacts(
        eviction=next((each.eviction for each in servers if each.eviction != "noeviction"), "noeviction"),
        keeps=False if False in kept else None if None in kept else True,
        time=max((each.time for each in servers), key=lambda time: abs(time - now)),
    )


def eviction(servers: Sequence[Connections]) -> str:
    """Return the ``maxmemory-policy`` of a server that evicts keys; '' for any other and while one does not answer."""
    try:
        policies = [_maxmemory_policy(server) for server in servers]
    except RedisError:
        return ""
    return next((policy for policy in policies if policy != "noeviction"), "")


def _maxmemory_policy(server: Connections) -> str:
    """Return what a server does when its memory is full, or '' if it does not say."""
    # Asked every few seconds: a connection of its own would cost more than all else that an idle process does.
    [information] = server.exchange(("INFO", "memory"))
    if isinstance(information, RedisError):
        raise information
    with as_store_errors():
        return _as_lines(information).get("maxmemory_policy", "")


def _saves(server: Connections) -> bool | None:
    """Tell whether a server writes snapshots; None if it does not say, as many hosted ones."""
    try:
        [answer] = server.alone(("CONFIG", "GET", "save"))
    except ResponseError:
        return None
    # A list, or with RESP3 a mapping.
    with as_store_errors():
        values = list(answer.values()) if isinstance(answer, dict) else answer[1:]
        return bool(values and values[0])


def _as_lines(information: bytes) -> dict[str, str]:
    """Return the lines of INFO by their names."""
    lines = information.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
