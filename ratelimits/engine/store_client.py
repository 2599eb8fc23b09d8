"""The store as one server: the script that it runs, and the names of its keys. Only the engine uses it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from opsconsole.kit.redis_cluster import is_cluster
from opsconsole.kit.whole_answers import LimitedParser
from ratelimits.engine import script, store_facts
from ratelimits.engine.connections import Connections
from ratelimits.engine.questions import GENERATION as GENERATION_NAME
from ratelimits.engine.questions import PREFIX, PROBE, Answer, Question, Return, arguments
from ratelimits.engine.script_answer import all_deleted, answer_to

TIMEOUT_SECONDS = 0.1
GENERATION = f"{PREFIX}{GENERATION_NAME}"
WHOLE = ""


def options(timeout: float) -> dict[str, Any]:
    """Return what every connection to the store has, whatever its URL says: no request waits longer."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "client_name": "opsconsole-limiter",
        "decode_responses": False,
        "parser_class": LimitedParser,
    }


class Script:
    """The text of a script, and the name under which a server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()


class Store:
    """One server, which counts all policies of a request by one script. Every failure is a ``RedisError``."""

    def __init__(self, url: str, text: str | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._script = Script(text or script.source())
        pool = ConnectionPool.from_url(url)
        # And no request asks twice.
        pool.connection_kwargs |= options(timeout) | {"retry": Retry(NoBackoff(), 0)}
        self._pool = pool
        self.connections = Connections(pool)

    def is_cluster(self) -> bool:
        return is_cluster(self._pool)

    def shard(self, key: str) -> str:
        return WHOLE

    def neighbours(self, shards: Sequence[str]) -> list[list[str]]:
        return [list(shards)]

    def ask(self, questions: Sequence[Question]) -> list[Answer | RedisError]:
        if len(questions) == 1:
            return [self._ask(questions[0])]
        return [self._ask(question) for question in questions]

    def take_back(self, returns: Sequence[Return]) -> None:
        """Do nothing: the script counts under all policies or none."""

    def delete(self, keys: Sequence[str]) -> None:
        all_deleted(self.connections.exchange(*(("DEL", key) for key in keys)))

    def probe(self) -> None:
        self._ask(Question(WHOLE, [(PROBE, f"{PREFIX}{PROBE.name}")], 1))

    def eviction(self) -> str:
        return store_facts.eviction([self.connections])

    def facts(self) -> store_facts.StoreFacts:
        return store_facts.facts(self.connections)

    def _ask(self, question: Question) -> Answer:
        names = [key for _, key in question.counted]
        names.append(GENERATION)
        given = arguments(question, names, question.generation)
        [numbers] = self.connections.exchange((b"EVALSHA", self._script.sha, *given))
        if isinstance(numbers, NoScriptError):
            [numbers] = self.connections.exchange((b"EVAL", self._script.text, *given))
        if isinstance(numbers, RedisError):
            raise numbers
        return answer_to(question, question.generation, numbers)
