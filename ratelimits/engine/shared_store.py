"""The store at a URL. The server says whether it is one server or a cluster, so there is no setting for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from redis.exceptions import RedisError, ResponseError

from ratelimits.engine import store_facts
from ratelimits.engine.cluster_client import ClusterStore
from ratelimits.engine.questions import Answer, AnyStore, Question, Return
from ratelimits.engine.store_client import TIMEOUT_SECONDS, Store


class SharedStore:
    """Asks the server at the first use what it is, and again when it answers as the other kind would."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._url = url
        self._timeout = timeout
        self._lock = threading.Lock()
        self._known: AnyStore | None = None

    def _store(self) -> AnyStore:
        if self._known is None:
            with self._lock:
                if self._known is None:
                    self._known = self._find()
        return self._known

    def _find(self) -> AnyStore:
        server = Store(self._url, timeout=self._timeout)
        if server.is_cluster():
            return ClusterStore(self._url, timeout=self._timeout)
        return server

    def shard(self, key: str) -> str:
        return (self._known or self._store()).shard(key)

    def neighbours(self, shards: Sequence[str]) -> list[list[str]]:
        return self._store().neighbours(shards)

    def ask(self, questions: Sequence[Question]) -> list[Answer | RedisError]:
        return (self._known or self._store()).ask(questions)

    def take_back(self, returns: Sequence[Return]) -> None:
        self._store().take_back(returns)

    def delete(self, keys: Sequence[str]) -> None:
        self._store().delete(keys)

    def probe(self) -> None:
        known = self._store()
        try:
            known.probe()
        except RedisError as error:
            # One server that refuses may have become a cluster. A cluster that fails in any way may have become one server.
            if isinstance(known, Store) and not isinstance(error, ResponseError):
                raise
            found = self._find()
            if type(found) is type(known):
                raise
            found.probe()
            self._known = found

    def eviction(self) -> str:
        try:
            return self._store().eviction()
        except RedisError:
            return ""

    def facts(self) -> store_facts.StoreFacts:
        return self._store().facts()
