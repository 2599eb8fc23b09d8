"""The client of a Redis or Valkey Cluster: redis-py's, whose failures are ``RedisError`` as those of one server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import InvalidResponse, NoPermissionError, RedisClusterException
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from opsconsole.kit.errors import first_line
from opsconsole.kit.whole_answers import NONSENSE, LimitedParser


class Cluster(RedisCluster):
    """``at`` connects to the cluster of which the URL names a server."""

    # A slot that is half moved refuses for a moment. Nobody waits longer for it than for a server that does not answer.
    RedisClusterRequestTTL = 3

    @classmethod
    def at(cls, url: str, *, retries: int = 0, **options: Any) -> Self:
        with as_store_errors():
            return cls(
                url=url,
                retry=Retry(NoBackoff(), retries),
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
                **options,
            )

    def on_connect(self, connection: Any) -> None:
        """Begin a connection to a server. The client hands no parser of ours to its connections, so it is set here."""
        connection.set_parser(LimitedParser)
        with as_store_errors():
            super().on_connect(connection)  # type: ignore[no-untyped-call]  # redis-py's

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        with as_store_errors():
            return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]  # redis-py's


def is_cluster(pool: ConnectionPool) -> bool:
    """Ask a server whether it is part of a cluster. One that does not let us ask is taken to be alone."""
    try:
        with as_store_errors():
            return bool(Redis(connection_pool=pool).info("cluster").get("cluster_enabled"))
    except NoPermissionError:
        return False
    finally:
        pool.disconnect(inuse_connections=False)


@contextmanager
def as_store_errors() -> Iterator[None]:
    """Raise what is no ``RedisError`` in redis-py's client as one: of clusters, and of answers that it doesn't expect."""
    try:
        yield
    except RedisClusterException as error:
        raise StoreConnectionError(f"The cluster can't be used: {first_line(error)}") from error
    except NONSENSE as error:
        raise InvalidResponse(f"The answer is not what was asked for ({type(error).__name__})") from error
