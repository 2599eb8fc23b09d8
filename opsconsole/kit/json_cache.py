"""Django's cache in Redis or Valkey, holding JSON only.

Django's own backend unpickles what it reads, so whoever can write to the store could run code in every process that
reads it. Here an entry that is no JSON, or a key of another type, counts as a miss.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import ResponseError

from opsconsole.kit.redis_cluster import Cluster, is_cluster
from opsconsole.kit.whole_answers import LimitedParser

WRONG_TYPE = "WRONGTYPE"
Key: TypeAlias = str | bytes | memoryview


class ForeignEntry(ValueError):
    """An entry of the store that this cache did not write."""


class JSONSerializer:
    """What values look like in the store. Integers are plain digits, so that the store can count with them."""

    def dumps(self, value: object) -> bytes:
        return json.dumps(value, allow_nan=False).encode()

    def loads(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (TypeError, ValueError, RecursionError) as error:
            raise ForeignEntry("The entry is no JSON.") from error


OURS = {"serializer": JSONSerializer, "parser_class": LimitedParser}


class JSONCacheClient(RedisCacheClient):
    """The server says whether it is alone or part of a cluster; each command then goes to where its key is."""

    _cluster: Cluster | None = None
    _alone = False

    def get_client(self, key: Key | None = None, *, write: bool = False) -> Any:
        if not self._alone and self._cluster is None:
            if is_cluster(self._get_connection_pool(write)):  # type: ignore[attr-defined]  # not in the stubs
                first, options = self._servers[0], self._pool_options  # type: ignore[attr-defined]  # not in the stubs
                self._cluster = Cluster.at(first, retries=1, **options)
            else:
                self._alone = True
        return self._cluster or super().get_client(key, write=write)

    def set_many(self, data: Mapping[Key, Any], timeout: Any) -> None:
        for key, value in data.items():
            self.set(key, value, timeout)

    def delete_many(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.delete(key)

    def get(self, key: Key, default: Any) -> Any:
        try:
            return super().get(key, default)
        except ForeignEntry:
            return default
        except ResponseError as error:
            if str(error).startswith(WRONG_TYPE):
                return default
            raise

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Any]:
        missing = object()
        values = {key: self.get(key, missing) for key in keys}
        return {key: value for key, value in values.items() if value is not missing}


class JSONCache(RedisCache):
    """The backend for the setting ``CACHES``."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        params = params | {"OPTIONS": {**params.get("OPTIONS", {}), **OURS}}
        super().__init__(server, params)
        self._class = JSONCacheClient
