"""A cluster of three primaries with a replica each, and a set of sentinels, as a few processes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import valkey

from tests.servers import ValkeyServer, free_port, server_binary
from tests.tls import Certificates, MixedTerminator

SLOTS = 16_384
PRIMARIES = 3
NODE_TIMEOUT_MS = 1_000
MASTER = "memories"
READY_SECONDS = 30.0

on_a_cluster = pytest.mark.xdist_group("cluster")
"""For tests that have `valkey_cluster`: one worker runs them all, since six servers that nobody asks anything need 2 %
of a core."""

with_sentinels = pytest.mark.xdist_group("sentinels")
"""The same for `sentinel_set`."""


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    """Wait for other processes; fails after half a minute."""
    deadline = time.monotonic() + READY_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {READY_SECONDS:g} s for {what}")
        time.sleep(0.02)


def tell(server: ValkeyServer, *command: Any) -> Any:
    """The reply of one server, as it is: valkey-py has its own reading of what clusters answer."""
    client = valkey.Valkey(port=server.port)
    try:
        connection = client.connection_pool.get_connection("_")
        connection.send_command(*command)
        return connection.read_response()
    finally:
        client.close()


class ValkeyCluster:
    """`with ValkeyCluster() as cluster:` starts the nodes, gives them slots and replicas, and ends them again.

    With `certificates` each has a terminator in `terminators`, in front of it, whose port is the one that all are told.
    """

    def __init__(
        self, *, arguments: tuple[str, ...] = (), replicas: bool = True, certificates: Certificates | None = None
    ) -> None:
        self._arguments = arguments
        self._count = 2 * PRIMARIES if replicas else PRIMARIES
        self._certificates = certificates
        self._stack = ExitStack()
        self.terminators: list[MixedTerminator] = []
        self.nodes: list[ValkeyServer] = []

    def __enter__(self) -> ValkeyCluster:
        try:
            for _ in range(self._count):
                announced: tuple[str, ...] = ()
                if self._certificates is not None:
                    self.terminators.append(self._stack.enter_context(MixedTerminator(0, self._certificates)))
                    announced = ("--cluster-announce-port", str(self.terminators[-1].port))
                self.nodes.append(self._stack.enter_context(self._node(announced)))
            for terminator, node in zip(self.terminators, self.nodes, strict=False):
                terminator.server_port = node.port
            self._join()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Names two of the nodes; the others are found."""
        if self._certificates is not None:
            hosts = ",".join(f"127.0.0.1:{terminator.port}" for terminator in self.terminators[:2])
            return f"valkeys+cluster://{hosts}?{self._certificates.settings}"
        return f"valkey+cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[-2].port}"

    @property
    def primaries(self) -> list[ValkeyServer]:
        """The nodes that own slots at the moment."""
        return [node for node in self.nodes if tell(node, "ROLE")[0] == b"master"]

    def owner(self, key: str) -> ValkeyServer:
        """The primary that has a key's slot, as the first node that answers sees it."""
        slot = tell(self.nodes[0], "CLUSTER", "KEYSLOT", key)
        for first, last, primary, *_ in self._slots():
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary[1])
        raise LookupError(f"nobody has slot {slot}")

    def replica_of(self, primary: ValkeyServer) -> ValkeyServer:
        """The replica of a primary."""
        [[_, port, *_]] = [entry[:2] for entry in tell(primary, "ROLE")[2]]
        return next(node for node in self.nodes if node.port == int(port))

    def tag_on(self, primary: ValkeyServer, like: str = "t") -> str:
        """A hash tag whose slot is on `primary`."""
        return next(tag for tag in (f"{like}{n}" for n in range(1000)) if self.owner(f"{{{tag}}}") is primary)

    def id_of(self, node: ValkeyServer) -> str:
        """The id by which a cluster knows a node."""
        return str(tell(node, "CLUSTER", "MYID").decode())

    def _slots(self) -> Any:
        for node in self.nodes:
            with suppress(valkey.ValkeyError):
                return tell(node, "CLUSTER", "SLOTS")
        raise LookupError("no node answers")

    def _node(self, announced: tuple[str, ...]) -> ValkeyServer:
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        # The servers' own choice, ten thousand above the port, may be no port at all.
        bus = ("--cluster-port", str(free_port()), "--repl-diskless-sync-delay", "0")
        fast = ("--cluster-replica-validity-factor", "0", "--appendonly", "no")
        return ValkeyServer(arguments=(*cluster, *bus, *fast, *announced, *self._arguments))

    def _join(self) -> None:
        first, *others = self.nodes
        for number, node in enumerate(self.nodes):
            tell(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < PRIMARIES:
                begin, end = number * SLOTS // PRIMARIES, (number + 1) * SLOTS // PRIMARIES - 1
                tell(node, "CLUSTER", "ADDSLOTSRANGE", begin, end)
        for node in others:
            bus = node.arguments[node.arguments.index("--cluster-port") + 1]
            tell(first, "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        count = str(self._count)
        wait_for(
            "the nodes to meet", lambda: all(self._info(node)["cluster_known_nodes"] == count for node in self.nodes)
        )
        for number, node in enumerate(self.nodes[PRIMARIES:]):
            tell(node, "CLUSTER", "REPLICATE", self.id_of(self.nodes[number]))
        wait_for(
            "the cluster to be whole", lambda: all(self._info(node)["cluster_state"] == "ok" for node in self.nodes)
        )
        wait_for("the replicas", lambda: all(b"connected" in tell(node, "ROLE") for node in self.nodes[PRIMARIES:]))
        wait_for("all to know the replicas", lambda: all(self._knows_replicas(node) for node in self.nodes))

    def wait_until_whole(self) -> None:
        """Wait until every node serves all slots, and knows a replica of each primary that follows it."""
        self._wait_for("the cluster to be whole", lambda node: self._info(node)["cluster_state"] == "ok")
        self._wait_for("the replicas to follow", lambda node: tell(node, "ROLE")[3:4] in ([], [b"connected"]))
        self._wait_for("all to know the replicas", self._knows_replicas)

    def _wait_for(self, what: str, is_so: Callable[[ValkeyServer], bool]) -> None:
        wait_for(what, lambda: all(is_so(node) for node in self.nodes))

    def _knows_replicas(self, node: ValkeyServer) -> bool:
        return all(len(entry) == (4 if self._count > PRIMARIES else 3) for entry in tell(node, "CLUSTER", "SLOTS"))

    def _info(self, node: ValkeyServer) -> dict[str, str]:
        text = tell(node, "CLUSTER", "INFO").decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


class SentinelSet:
    """`with SentinelSet() as servers:` starts a primary, a replica and three sentinels that watch over them.

    With `certificates` there is a terminator in front of each server and sentinel, in this order. A server is known to
    the others by the port of its own.
    """

    def __init__(self, *, sentinel_password: str | None = None, certificates: Certificates | None = None) -> None:
        self._stack = ExitStack()
        self._sentinel_password = sentinel_password
        self._certificates = certificates
        self.terminators: list[MixedTerminator] = []
        self.servers: list[ValkeyServer] = []
        self.sentinels: list[ValkeyServer] = []

    def __enter__(self) -> SentinelSet:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        if self._certificates is not None:
            hosts = ",".join(f"127.0.0.1:{terminator.port}" for terminator in self.terminators[2:])
            return f"valkeys+sentinel://{hosts}/{MASTER}?{self._certificates.settings}"
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        query = "" if self._sentinel_password is None else f"?sentinel_password={self._sentinel_password}"
        return f"valkey+sentinel://{hosts}/{MASTER}{query}"

    @property
    def primary(self) -> ValkeyServer:
        """The server that the first sentinel names."""
        client = self.sentinels[0].blocking_client()
        try:
            _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
        finally:
            client.close()
        return next(server for server in self.servers if self._known_port(server) == int(port))

    @property
    def replica(self) -> ValkeyServer:
        return next(server for server in self.servers if server is not self.primary)

    def _start(self) -> None:
        primary = self._enter(ValkeyServer(arguments=("--repl-diskless-sync-delay", "0")))
        self.servers = [primary]
        follow: tuple[str, ...] = ("--repl-diskless-sync-delay", "0")
        follow += ("--replicaof", f"127.0.0.1 {self._known_port(primary)}")
        if self._certificates is not None:
            self.terminators.append(self._stack.enter_context(MixedTerminator(0, self._certificates)))
            follow += ("--replica-announce-port", str(self.terminators[-1].port))
        self.servers.append(self._stack.enter_context(ValkeyServer(arguments=follow)))
        for terminator, server in zip(self.terminators, self.servers, strict=False):
            terminator.server_port = server.port
        wait_for("the replica", lambda: self._is_followed(primary))
        for _ in range(3):
            self.sentinels.append(self._enter(_Sentinel(self._known_port(primary), password=self._sentinel_password)))
        wait_for("the sentinels", lambda: all(self._is_whole(sentinel) for sentinel in self.sentinels))

    def _enter(self, server: ValkeyServer) -> ValkeyServer:
        self._stack.enter_context(server)
        if self._certificates is not None:
            self.terminators.append(self._stack.enter_context(MixedTerminator(server.port, self._certificates)))
        return server

    def _known_port(self, server: ValkeyServer) -> int:
        if self._certificates is None:
            return server.port
        return next(terminator.port for terminator in self.terminators if terminator.server_port == server.port)

    def _is_followed(self, primary: ValkeyServer) -> bool:
        client = primary.blocking_client()
        try:
            return bool(client.info("replication").get("slave0", {}).get("state") == "online")
        finally:
            client.close()

    def _is_whole(self, sentinel: ValkeyServer) -> bool:
        client = sentinel.blocking_client()
        try:
            state = client.sentinel_master(MASTER)
            return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)
        finally:
            client.close()


class _Sentinel(ValkeyServer):
    """A sentinel, which keeps what it knows in its configuration file."""

    def __init__(self, primary_port: int, *, password: str | None) -> None:
        super().__init__(search=False, password=password)
        self._primary_port = primary_port

    def _command(self) -> list[str]:
        assert self._directory is not None
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self._directory.name}",
            "logfile log",
            f"sentinel monitor {MASTER} 127.0.0.1 {self._primary_port} 2",
            f"sentinel down-after-milliseconds {MASTER} 1000",
            f"sentinel failover-timeout {MASTER} 3000",
        ]
        if self.password is not None:
            lines += [f"requirepass {self.password}", f"sentinel sentinel-pass {self.password}"]
        configuration = Path(self._directory.name, "sentinel.conf")
        configuration.write_text("\n".join(lines) + "\n")
        return [str(server_binary()), str(configuration), "--sentinel"]
