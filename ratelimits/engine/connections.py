"""Reusable connections to one server of the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from hiredis import pack_command
from redis.connection import ConnectionInterface, ConnectionPool
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import RedisError

from opsconsole.kit.errors import first_line
from opsconsole.kit.whole_answers import LimitedParser

Command = Sequence[Any]


class Sent(NamedTuple):
    """Commands that were sent, and whose answers have not been read. ``reused``: the connection had been idle before."""

    connection: ConnectionInterface
    commands: Sequence[Command]
    reused: bool


class Connections:
    """Idle connections to one server. Every failure is a ``RedisError``.

    The pool only says how to connect. Taking a connection from it takes longer than the store's answer, so idle ones are
    kept here instead.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._idle: deque[ConnectionInterface] = deque()

    def exchange(self, *commands: Command) -> list[Any]:
        """Send commands, and return their answers. An answer that is an error is returned, not raised."""
        return self.read(self.send(*commands))

    def send(self, *commands: Command) -> Sent:
        """Send commands. Whoever does so reads the answers."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._send_anew(commands)
        try:
            _write(connection, commands)
        except StoreConnectionError:
            return self._send_again(commands)
        return Sent(connection, commands, reused=True)

    def read(self, sent: Sent) -> list[Any]:
        """Return the answers to commands that were sent."""
        try:
            return self._read(sent)
        except StoreConnectionError:
            if not sent.reused:
                raise
            # If the server had counted the request already, it now counts twice, which errs on the strict side.
            return self._read(self._send_again(sent.commands))

    def alone(self, *commands: Command) -> list[Any]:
        """Send commands on a connection of their own, and return their answers; raise the first that is an error."""
        connection = self._connection()
        answers = []
        try:
            for command in commands:
                connection.send_command(*command)  # type: ignore[no-untyped-call]  # redis-py's
                answers.append(connection.read_response())
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py's
        return answers

    def _send_again(self, commands: Sequence[Command]) -> Sent:
        # The server closed an idle connection, perhaps because it restarted. The other idle ones are no better, but a new
        # one may work.
        self._idle.clear()
        return self._send_anew(commands)

    def _send_anew(self, commands: Sequence[Command]) -> Sent:
        connection = self._connection()
        connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        _parser(connection).leave_time_to_the_system()
        _write(connection, commands)
        return Sent(connection, commands, reused=False)

    def _connection(self) -> ConnectionInterface:
        """Make a connection. The pool would count every one that it ever made, and refuse after the hundredth."""
        connection: ConnectionInterface = self._pool.connection_class(**self._pool.connection_kwargs)
        return connection

    def _read(self, sent: Sent) -> list[Any]:
        connection = sent.connection
        # redis-py would name the server and look at the protocol before each answer, and raise those that are errors.
        parser = _parser(connection)
        try:
            answers = [parser.read_response() for _ in sent.commands]
        except RedisError:
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py's
            raise
        except OSError as error:
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py's
            raise StoreConnectionError(f"Error while reading: {first_line(error)}") from error
        if parser.has_surplus:
            # The next request would take it for its own answer.
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py's
        else:
            self._idle.append(connection)
        return answers


def _parser(connection: ConnectionInterface) -> LimitedParser:
    """Return the parser that ``store_client.options`` or, of a cluster, ``redis_cluster.Cluster`` sets."""
    parser: LimitedParser = connection._parser  # type: ignore[attr-defined]  # noqa: SLF001 - it is ours
    return parser


def _write(connection: ConnectionInterface, commands: Sequence[Command]) -> None:
    try:
        # redis-py calls the same function, after looking at the type of every argument.
        _parser(connection).send(b"".join([pack_command(tuple(command)) for command in commands]))
    except RedisError:
        connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py's
        raise
