"""The listening sockets of one process, and the limits of the connections that they accept."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from opsconsole.serving.connections import Connection
from opsconsole.serving.request_threads import Threads
from ratelimits.identity import client_ip

# Django refuses bodies above DATA_UPLOAD_MAX_MEMORY_SIZE (2.5 MiB) in the console's own words; above this, it isn't asked.
LARGEST_BODY = 4 * 1_048_576
LARGEST_HEAD = 65_536
# What a client sends is held in memory up to this size, and beyond it in a temporary file.
IN_MEMORY = 65_536
# Connections above the limit, for when each of the others has a request in work.
RESERVE = 50
NEVER = 2**31


class _Bounded:
    """A listening socket with a limited number of connections: a new one replaces one that waits for its client."""

    channel_class = Connection
    active_channels: dict[int, Connection]
    is_one_of_several = False
    is_stopping = False
    most_connections = 0
    # Their next request waits in the console, because the client has not read the last response yet.
    postponed: deque[Connection]

    @property
    def is_busy(self) -> bool:
        """Tell whether part of a request was received, or a request is being answered or its response sent."""
        return any(
            each.requests or each.total_outbufs_len or each.request is not None
            for each in self.active_channels.values()
        )

    def add_task(self, connection: Connection) -> None:
        """Let a thread answer the connection's next request, once the client has read the last response.

        Otherwise a client that sends many requests and reads nothing would fill the memory, or occupy a thread.
        """
        if connection.total_outbufs_len:
            self.postponed.append(connection)
        else:
            super().add_task(connection)  # type: ignore[misc]  # waitress's

    def resume(self) -> None:
        """Answer the postponed requests whose clients have read the last response."""
        for _ in range(len(self.postponed)):
            connection = self.postponed.popleft()
            if connection.connected:
                self.add_task(connection)

    def close_overdue(self) -> None:
        """Close the connections of clients that are too slow. The worker calls this about once per second."""
        now = time.monotonic()
        for connection in list(self.active_channels.values()):
            if connection.is_overdue(now):
                connection.handle_close()

    def make_room(self) -> None:
        """Above the limit, close a connection that waits for its client: the oldest idle one of the peer that has most.

        A stranger who opens many connections therefore loses those, and nobody else's.
        """
        if len(self.active_channels) <= self.most_connections:
            return
        newest = next(reversed(self.active_channels.values()))
        waiting = [each for each in self.active_channels.values() if not each.requests and each is not newest]
        peers = Counter(_peer(each) for each in waiting)
        if waiting:
            max(
                waiting, key=lambda each: (peers[_peer(each)], -each.current_phase, -each.since)
            ).handle_close()

    def stop_accepting(self) -> None:
        """Leave new connections to other processes. Responses close theirs from now on."""
        self.accepting = False
        self.is_stopping = True
        self.del_channel()  # type: ignore[attr-defined]  # waitress's


class TcpServer(_Bounded, TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """A listening socket of TCP."""


class UnixServer(_Bounded, UnixWSGIServer):  # type: ignore[misc]  # waitress has no types
    """A listening Unix socket."""


def _peer(connection: Connection) -> str:
    """Return what counts as one peer, as for rate limits: an address, or the /64 network of an IPv6 address."""
    address = client_ip.parse(str(connection.addr[0]))
    return client_ip.group(address) if address else ""


def serve(
    application: Any,
    listener: socket.socket,
    connections: dict[int, Any],
    threads: Threads,
    **limits: int,
) -> _Bounded:
    """Accept connections into ``connections``, the map of the event loop. ``limits``: backlog and connection_limit."""
    most = limits["connection_limit"]
    adjustments = Adjustments(
        sockets=[listener],
        backlog=limits["backlog"],
        connection_limit=most + RESERVE,
        max_request_header_size=LARGEST_HEAD,
        # waitress refuses bodies of this size, too.
        max_request_body_size=LARGEST_BODY + 1,
        inbuf_overflow=IN_MEMORY,
        # The worker does what waitress would do now and then.
        cleanup_interval=NEVER,
        # Which proxies may be believed is for the console to say: OPSCONSOLE_TRUSTED_PROXIES.
        clear_untrusted_proxy_headers=False,
        ident=None,
    )
    kind = UnixServer if listener.family == socket.AF_UNIX else TcpServer
    server = kind(
        application,
        connections,
        _sock=listener,
        dispatcher=threads,
        adj=adjustments,
        bind_socket=False,
        sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
    )
    server.most_connections = most
    server.postponed = deque()
    return server
