"""The store as the engine asks it: it is told what it has lost or missed before it decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import ResponseError

from ratelimits.engine.admissions import NOTHING, Admissions
from ratelimits.engine.breaker import Breaker
from ratelimits.engine.store_client import Answer, PolicyAndKey, Store

MOST_GENERATIONS = 3
CLIENTS_TOLD_AT_ONCE = 100


class ToldStore:
    """``generation``: the store's at its last answer, 0 before the first one."""

    def __init__(self, admissions: Admissions, breaker: Breaker) -> None:
        self._admissions = admissions
        self._breaker = breaker
        self._telling = threading.Lock()
        self.generation = 0

    def ask(self, store: Store, counted: Sequence[PolicyAndKey], cost: int) -> Answer:
        """Ask the store, which first learns what it does not know about these clients' admissions."""
        keys = [key for _, key in counted]
        if all(self._admissions.owed(key, self.generation) == NOTHING for key in keys):
            answer = store.ask(counted, cost, self.generation)
            self.generation = answer.generation
            if answer.numbers:
                return answer
        # One thread at a time, because otherwise each would tell the same.
        with self._telling:
            for _ in range(MOST_GENERATIONS):
                if self._breaker.error:
                    break
                owed = [self._admissions.owed(key, self.generation) for key in keys]
                answer = store.ask(counted, cost, self.generation, owed)
                self.generation = answer.generation
                if answer.numbers:
                    self._admissions.note_told(keys, answer.generation)
                    return answer
        raise StoreConnectionError(self._breaker.error or "It loses its data at every request.")

    def tell_all(self, store: Store, is_about_keys: Callable[[ResponseError], bool]) -> None:
        """Tell the store everything that it does not know.

        ``is_about_keys`` tells whether the store refuses only these clients; those are given up.
        """
        if not len(self._admissions):
            return
        self.generation = store.ask([], 0).generation
        owing = self._admissions.owing(self.generation)
        for start in range(0, len(owing), CLIENTS_TOLD_AT_ONCE):
            self._tell(store, owing[start : start + CLIENTS_TOLD_AT_ONCE], is_about_keys)

    def _tell(
        self, store: Store, clients: Sequence[PolicyAndKey], is_about_keys: Callable[[ResponseError], bool]
    ) -> None:
        try:
            self.ask(store, clients, 0)
        except ResponseError as error:
            if not is_about_keys(error):
                return
            if len(clients) == 1:
                self._admissions.note_told([clients[0][1]], self.generation)
                return
            middle = len(clients) // 2
            self._tell(store, clients[:middle], is_about_keys)
            self._tell(store, clients[middle:], is_about_keys)
