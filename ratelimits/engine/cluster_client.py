"""The store as a cluster. redis-py's client knows the slots; this module asks the nodes side by side.

Clients are spread over shards. The keys of a shard share a slot by their hash tag, and each shard has a generation of its
own, which its slot loses with everything else. A replica that takes over may have missed the last counts of the server
before it, and a slot that moved comes from elsewhere: a process that meets another server for a shard tells it what it
knows, as it tells a store that lost its data.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from zlib import crc32

from redis.cluster import ClusterNode
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    MovedError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as StoreConnectionError

from opsconsole.kit.errors import first_line
from opsconsole.kit.redis_cluster import Cluster, as_store_errors
from ratelimits.engine import script, store_facts
from ratelimits.engine.connections import Command, Connections, Sent
from ratelimits.engine.questions import (
    GENERATION,
    PREFIX,
    PROBE,
    Answer,
    Question,
    Return,
    SlotMoves,
    arguments,
    returned,
)
from ratelimits.engine.script_answer import all_deleted, answer_to
from ratelimits.engine.store_client import TIMEOUT_SECONDS, Script, options

SHARDS = 1024
# A generation as processes know it: the number of the server that answered, before the shard's own generation.
SERVER_BITS = 60
OWN = (1 << SERVER_BITS) - 1
_DECIDED_HERE = {"socket_timeout", "socket_connect_timeout", "decode_responses", "client_name"}


class ClusterStore:
    """The nodes of a cluster. Every failure is a ``RedisError``."""

    def __init__(self, url: str, text: str | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._script = Script(text or script.source())
        self._take_back = Script(script.TAKE_BACK)
        parts = urlsplit(url)
        query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _DECIDED_HERE]
        self._first = (parts.hostname or "localhost", parts.port or 6379)
        self._cluster = Cluster.at(urlunsplit(parts._replace(query=urlencode(query))), **options(timeout))
        self._lock = threading.Lock()
        self._connections: dict[str, Connections] = {}
        self._numbers: dict[str, int] = {}

    def shard(self, key: str) -> str:
        """Return the hash tag of the client, which is the same under all policies."""
        return f"{{{crc32(key[key.index(':', len(PREFIX)) + 1 :].encode()) % SHARDS}}}"

    def neighbours(self, shards: Sequence[str]) -> list[list[str]]:
        by_server: dict[str, list[str]] = {}
        with as_store_errors():
            for shard in shards:
                by_server.setdefault(self._node(shard).name, []).append(shard)
        return list(by_server.values())

    def ask(self, questions: Sequence[Question]) -> list[Answer | RedisError]:
        """Ask the nodes side by side; a node with several shards is asked at once about all of them."""
        answers: dict[int, Answer | RedisError] = {}
        by_server: dict[str, list[int]] = {}
        with as_store_errors():
            for at, question in enumerate(questions):
                server = self._node(question.shard).name
                number = self._number(server)
                if question.generation and question.generation >> SERVER_BITS != number:
                    # Another server than before: it must first learn what this process knows.
                    answers[at] = Answer(number << SERVER_BITS, ())
                else:
                    by_server.setdefault(server, []).append(at)
        sent = [
            (server, each, self._send(server, [questions[at] for at in each]))
            for server, each in by_server.items()
        ]
        for server, each, batch in sent:
            for at, reply in zip(each, self._replies(server, batch, len(each)), strict=True):
                answers[at] = self._answer(server, questions[at], reply)
        return [answers[at] for at in range(len(questions))]

    def take_back(self, returns: Sequence[Return]) -> None:
        """Take it back on the server that counted it, and on no other: one that took over may never have heard of it."""
        servers = {number: server for server, number in list(self._numbers.items())}
        failure: RedisError | None = None
        for each in returns:
            names = [_name(each.shard, key) for _, key in each.counted]
            command = ("EVAL", self._take_back.text, *returned(each, names))
            try:
                connections = self._to(servers[each.generation >> SERVER_BITS])
                # Sent again after a broken connection, it might be taken back twice.
                [reply] = connections.read(connections.send(command)._replace(reused=False))
            except RedisError as error:
                reply = error
            if isinstance(reply, RedisError):
                failure = reply
        if failure is not None:
            raise failure

    def delete(self, keys: Sequence[str]) -> None:
        answers: list[Any] = []
        for key in keys:
            try:
                answers.append(self._cluster.execute_command("DEL", _name(self.shard(key), key)))
            except RedisError as error:
                answers.append(error)
        all_deleted(answers)

    def probe(self) -> None:
        """Read which server has which slots, and count a request on each."""
        self._refresh()
        of_each = self.neighbours([f"{{{number}}}" for number in range(SHARDS)])
        probed = [Question(shards[0], [(PROBE, f"{PREFIX}{PROBE.name}")], 1) for shards in of_each]
        for answer in self.ask(probed):
            if isinstance(answer, RedisError):
                raise answer

    def eviction(self) -> str:
        return store_facts.eviction(self._primaries())

    def facts(self) -> store_facts.StoreFacts:
        return store_facts.of_all([store_facts.facts(each) for each in self._primaries()])

    def _primaries(self) -> list[Connections]:
        return [self._to(node.name) for node in self._cluster.get_primaries()]  # type: ignore[no-untyped-call]  # redis-py's

    def _node(self, shard: str) -> ClusterNode:
        node: ClusterNode = self._cluster.get_node_from_key(shard)  # type: ignore[no-untyped-call]  # redis-py's
        return node

    def _number(self, server: str) -> int:
        number = self._numbers.get(server)
        if number is None:
            with self._lock:
                number = self._numbers.setdefault(server, len(self._numbers) + 1)
        return number

    def _to(self, server: str) -> Connections:
        """Return the connections to a server."""
        connections = self._connections.get(server)
        if connections is None:
            with as_store_errors():
                node = self._cluster.get_node(node_name=server)  # type: ignore[no-untyped-call]  # redis-py's
                pool = self._cluster.get_redis_connection(node).connection_pool
            with self._lock:
                connections = self._connections.setdefault(server, Connections(pool))
        return connections

    def _send(self, server: str, questions: Sequence[Question], *, whole: bool = False) -> Sent | RedisError:
        """Send the script's name, or the ``whole`` script."""
        name, text = ("EVAL", self._script.text) if whole else ("EVALSHA", self._script.sha)
        try:
            return self._to(server).send(*(self._command(name, text, each) for each in questions))
        except RedisError as error:
            return error

    def _replies(self, server: str, sent: Sent | RedisError, count: int) -> list[Any]:
        if isinstance(sent, Sent):
            try:
                return self._to(server).read(sent)
            except RedisError as error:
                sent = error
        return [sent] * count

    def _command(self, name: str, text: bytes, question: Question) -> Command:
        names = [
            *(_name(question.shard, key) for _, key in question.counted),
            f"{PREFIX}{question.shard}:{GENERATION}",
        ]
        return (name, text, *arguments(question, names, question.generation & OWN))

    def _answer(self, server: str, question: Question, reply: Any) -> Answer | RedisError:
        """Translate a reply, and what a cluster says instead of one."""
        if isinstance(reply, NoScriptError):
            [reply] = self._replies(server, self._send(server, [question], whole=True), 1)
        if isinstance(reply, MovedError):
            return self._moved(server, question, reply)
        if isinstance(reply, AskError):
            reply = self._ask_where_it_goes(question)
        if isinstance(reply, TryAgainError):
            return SlotMoves("One half of the slot has been moved")
        if isinstance(reply, ClusterDownError):
            return StoreConnectionError(f"The cluster is down: {reply}")
        if isinstance(reply, StoreConnectionError):
            # Perhaps a replica took over long ago, and this process asks for the first time since.
            return self._elsewhere(server, question, refresh=True) or reply
        return reply if isinstance(reply, RedisError) else self._checked(server, question, reply)

    def _checked(self, server: str, question: Question, reply: Any) -> Answer | RedisError:
        try:
            return answer_to(
                question, question.generation & OWN, reply, server=self._number(server) << SERVER_BITS
            )
        except RedisError as error:
            return error

    def _moved(self, server: str, question: Question, reply: MovedError) -> Answer | RedisError:
        try:
            with as_store_errors():
                self._cluster.nodes_manager.move_slot(reply)
        except RedisError as error:
            return error
        return self._elsewhere(server, question) or StoreConnectionError("A slot was moved to where it was.")

    def _elsewhere(self, server: str, question: Question, *, refresh: bool = False) -> Answer | None:
        """Return the answer that makes the process ask again, if another server has the shard now."""
        try:
            if refresh:
                self._refresh()
            now = self._node(question.shard).name
        except (RedisError, RedisClusterException):
            return None
        return None if now == server else Answer(self._number(now) << SERVER_BITS, ())

    def _ask_where_it_goes(self, question: Question) -> Any:
        """Follow a redirection of a slot that is being moved."""
        try:
            return self._cluster.execute_command(*self._command("EVAL", self._script.text, question))
        except ClusterError as error:
            # The client asked as often as it may.
            return SlotMoves(first_line(error))
        except RedisError as error:
            return error

    def _refresh(self) -> None:
        """Read which server has which slots: from one of the servers, or at last from the address that we were given."""
        with as_store_errors():
            self._cluster.nodes_manager.initialize(additional_startup_nodes_info=[self._first])


def _name(shard: str, key: str) -> str:
    """Return the name in the store of what is a key in this process."""
    return f"{PREFIX}{shard}:{key[len(PREFIX) :]}"
