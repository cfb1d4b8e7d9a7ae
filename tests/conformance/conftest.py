"""One suite, every place a memory can live in."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine, urls
from betterdb_agent_memory.memory.record import memory_collection
from tests.acl import make_user
from tests.clusters import MASTER, SentinelSet, ValkeyCluster, on_a_cluster, with_sentinels
from tests.conformance.pooled import NOT_FOR_POOLS, PooledEngine
from tests.embedding import embed
from tests.servers import ValkeyServer
from tests.tls import Certificates, Terminator

FILE = "embedded-file"
MEMORY = "embedded-memory"
URL = "valkey-url"
POOL = "valkey-pool"
BLOCKING_POOL = "valkey-blocking-pool"
SINGLE = "valkey-single-connection"
POOLED = "valkey-pooled-tenant"
POOLED_FILE = "embedded-pooled-tenant"
PROTOCOLS = [
    f"{library}-resp{protocol}-{decoding}"
    for library in ("valkey", "redis")
    for protocol in (2, 3)
    for decoding in ("bytes", "decoded")
]
POOLS = (POOLED, POOLED_FILE)
CLUSTER = "cluster-url"
CLUSTER_CLIENT = "cluster-redis-client"
SENTINEL = "sentinel-url"
SENTINEL_CLIENT = "sentinel-redis-client"
TLS = "tls"
RESTRICTED = "acl-user"
FANNING_OUT = "cluster-fanning-out"
"""A cluster whose search answers for all nodes, as valkey-search's does: `BETTERDB_TEST_CLUSTER_URL` names it."""

OTHER_CLUSTER_URL = os.environ.get("BETTERDB_TEST_CLUSTER_URL")
DECODING = "redis-resp3-decoded"
"""The client that differs most from the one behind a URL: the other library, the other protocol, strings for bytes."""
WHOLE = (FILE, URL, DECODING, POOLED, CLUSTER)
"""Where the whole suite is run."""
ONCE_OVER = [
    *(MEMORY, SINGLE, POOL, BLOCKING_POOL, CLUSTER_CLIENT, SENTINEL, SENTINEL_CLIENT, TLS, RESTRICTED),
    *(protocol for protocol in PROTOCOLS if protocol != DECODING),
]
"""Other ways to the same: what a connection can break is in a few of the modules, and a whole pass takes 20 s."""
EVERY_WAY = bool(os.environ.get("BETTERDB_TEST_EVERY_WAY"))
"""Run the whole suite over all of them: five minutes more."""
ONCE_OVER_MODULES = ("test_remember_recall", "test_list_stats_config", "test_values")

ALIKE = (FILE, DECODING, POOLED, CLUSTER)
"""A file, a server, a tenant in a pool and a cluster; the last two have the client behind a URL."""

ABOVE_THE_ENGINES = {
    # Nearly all is refused before an engine is asked.
    "test_bad_input": (FILE, URL, POOLED),
    "test_near_cache": (FILE, URL, POOLED, CLUSTER),
    # Made of verbs of records, leases and links, over which other modules are run whole.
    "test_bulk_and_identity": ALIKE,
    "test_consolidation_facts": ALIKE,
    "test_consolidation_summary": ALIKE,
    "test_correction": ALIKE,
    "test_dynamics": ALIKE,
    "test_linked_memories": ALIKE,
}
"""Modules about what is the same over any connection, and where they are run; what is not listed is at all of `WHOLE`.
"""

WAITING = (FILE, URL, DECODING, CLUSTER)
"""Where a test is run that is marked with `waits`, since it lets a second pass: time is kept by the engine, not by the
connection."""

CONFIGURATIONS = [
    *WHOLE,
    *ONCE_OVER,
    *([FANNING_OUT] if OTHER_CLUSTER_URL else []),
]

BY_ONE_WORKER: dict[object, pytest.MarkDecorator] = {
    CLUSTER: on_a_cluster,
    CLUSTER_CLIENT: on_a_cluster,
    SENTINEL: with_sentinels,
    SENTINEL_CLIENT: with_sentinels,
}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the configurations out that are not for a module, before they are counted, and keep those together that
    need many servers."""
    items[:] = [item for item in items if _is_wanted(item)]
    for item in items:
        if (mark := BY_ONE_WORKER.get(_configuration(item))) is not None:
            item.add_marker(mark)


def _is_wanted(item: pytest.Item) -> bool:
    configuration = _configuration(item)
    module = item.path.stem
    # The feed has keys and commands of its own, which a user has to have a right to.
    wants_rights = configuration == RESTRICTED and module == "test_changes"
    if not EVERY_WAY and configuration not in ABOVE_THE_ENGINES.get(module, CONFIGURATIONS):
        return configuration is None
    if not EVERY_WAY and item.get_closest_marker("waits") and configuration not in WAITING:
        return configuration is None
    return EVERY_WAY or configuration not in ONCE_OVER or module in ONCE_OVER_MODULES or wants_rights


def _configuration(item: pytest.Item) -> object:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("configuration")


def named_for(configuration: object, name: str) -> str:
    """The name with a hash tag, where a store needs one."""
    needs_tag = configuration in (CLUSTER, CLUSTER_CLIENT) and "{" not in name
    return f"{{{name}}}" if needs_tag else name


def make_client(configuration: str, port: int) -> valkey.asyncio.Valkey | redis.asyncio.Redis:
    """The client of a configuration, as a user would make it."""
    if configuration == POOL:
        pool = valkey.asyncio.ConnectionPool(host="127.0.0.1", port=port, max_connections=50)
        return valkey.asyncio.Valkey(connection_pool=pool)
    if configuration == BLOCKING_POOL:
        blocking = valkey.asyncio.BlockingConnectionPool(host="127.0.0.1", port=port, max_connections=4)
        return valkey.asyncio.Valkey(connection_pool=blocking)
    if configuration == SINGLE:
        return valkey.asyncio.Valkey(host="127.0.0.1", port=port, single_connection_client=True)
    library, protocol, decoding = configuration.split("-")
    make = {"valkey": valkey.asyncio.Valkey, "redis": redis.asyncio.Redis}[library]
    client: valkey.asyncio.Valkey | redis.asyncio.Redis = make(
        host="127.0.0.1", port=port, protocol=int(protocol.removeprefix("resp")), decode_responses=decoding == "decoded"
    )
    return client


@pytest.fixture(params=CONFIGURATIONS)
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def engine(configuration: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """A place of each kind; a server is emptied afterwards."""
    if configuration in POOLS:
        if (why := NOT_FOR_POOLS.get(request.node.originalname)) is not None:
            pytest.skip(why)
        inner: Engine
        if configuration == POOLED:
            inner = ValkeyEngine.from_url(request.getfixturevalue("valkey_server").url)
        else:
            inner = EmbeddedEngine(tmp_path / "memories.db")
        pooled = PooledEngine(inner)
        yield pooled
        await pooled.assert_neighbours_have_everything()
        await inner.close()
        return
    if configuration in (FILE, MEMORY):
        embedded = EmbeddedEngine(":memory:" if configuration == MEMORY else tmp_path / "memories.db")
        yield embedded
        await embedded.close()
        return
    if (away := await _away(configuration, request)) is not None:
        engine, clear = away
        yield engine
        await clear()
        await engine.close()
        return
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    if configuration == URL:
        owned = ValkeyEngine.from_url(server.url)
        yield owned
        await owned.close()
        return
    client = make_client(configuration, server.port)
    yield ValkeyEngine(client)
    await client.execute_command("FLUSHALL")
    await client.aclose()
    await client.connection_pool.disconnect()  # one that was made apart from its client stays open


Clear = Callable[[], Awaitable[None]]


async def _away(configuration: str, request: pytest.FixtureRequest) -> tuple[ValkeyEngine, Clear] | None:
    """The engine of a configuration that is more than a plain server, and what empties that; None for others."""
    if configuration in (CLUSTER, CLUSTER_CLIENT):
        cluster: ValkeyCluster = request.getfixturevalue("valkey_cluster")
        if configuration == CLUSTER:
            return ValkeyEngine.from_url(cluster.url), _clearing(*cluster.nodes[:3])
        client = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[1].port, decode_responses=True)
        return ValkeyEngine(client, owns_client=True), _clearing(*cluster.nodes[:3])
    if configuration in (SENTINEL, SENTINEL_CLIENT):
        servers: SentinelSet = request.getfixturevalue("sentinel_set")
        if configuration == SENTINEL:
            return ValkeyEngine.from_url(servers.url), _clearing(servers.primary)
        sentinel = redis.asyncio.Sentinel([("127.0.0.1", server.port) for server in servers.sentinels])
        clear = _clearing(servers.primary)

        async def clear_and_leave() -> None:
            await clear()
            await sentinel.aclose()

        return ValkeyEngine(sentinel.master_for(MASTER), owns_client=True), clear_and_leave
    if configuration == TLS:
        server, terminator = request.getfixturevalue("valkey_server"), request.getfixturevalue("terminator")
        # It is a thread of this process, and forty handshakes at once take a while on a busy machine.
        request.getfixturevalue("monkeypatch").setattr(urls, "CONNECT_TIMEOUT_SECONDS", 60.0)
        certificates: Certificates = request.getfixturevalue("certificates")
        return ValkeyEngine.from_url(f"valkeys://127.0.0.1:{terminator.port}?{certificates.settings}"), _clearing(
            server
        )
    if configuration == RESTRICTED:
        server = request.getfixturevalue("valkey_server")
        name = request.getfixturevalue("conformance_name")
        # The last two for keys that tests keep beside the store's.
        user = await make_user(server, name, "another", name.upper(), f"a{name}")
        return ValkeyEngine.from_url(f"valkey://{user}@127.0.0.1:{server.port}"), _clearing(server)
    if configuration == FANNING_OUT:
        assert OTHER_CLUSTER_URL is not None
        engine = ValkeyEngine.from_url(OTHER_CLUSTER_URL)
        memories = memory_collection(request.getfixturevalue("conformance_name"))

        async def drop() -> None:
            await engine.records(memories).drop()

        return engine, drop
    return None


def _clearing(*servers: ValkeyServer) -> Clear:
    async def clear() -> None:
        for server in servers:
            client = server.client()
            await client.flushall()
            await client.aclose()

    return clear


@pytest.fixture(scope="session")
def terminator(valkey_server: ValkeyServer, certificates: Certificates) -> Iterator[Terminator]:
    """TLS in front of the server."""
    with Terminator(valkey_server.port, certificates) as terminator:
        yield terminator


@pytest.fixture
def conformance_name() -> str:
    """The name of the test's store, but for a hash tag."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def store_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses, with a hash tag where it needs one."""
    return named_for(_configuration(request.node), request.getfixturevalue("conformance_name"))


class TestClock:
    """A clock that stands still until a test moves it."""

    __test__ = False

    def __init__(self) -> None:
        self.now_ms = 1_750_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, *, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


MakeStore = Callable[..., MemoryStore]


@pytest.fixture
async def make_store(
    engine: Engine, clock: TestClock, configuration: str, conformance_name: str
) -> AsyncIterator[MakeStore]:
    """Makes stores of one name on the engine, with the threshold wide open."""
    made: list[MemoryStore] = []

    def make(**options: object) -> MemoryStore:
        defaults: dict[str, Any] = {
            "client": engine,
            "name": conformance_name,
            "embed_fn": embed,
            "default_threshold": 2.0,
            "clock": clock,
        }
        given = defaults | options
        given["name"] = named_for(configuration, given["name"])
        made.append(MemoryStore(**given))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(make_store: MakeStore) -> MemoryStore:
    """One store, ready."""
    return make_store()


async def expiry_of(engine: Engine, store: MemoryStore, id: str) -> int | None:
    """When the engine will forget a memory, in milliseconds since 1970."""
    [expires_at_ms] = await engine.records(memory_collection(store.name)).read_expiries([id])
    return expires_at_ms
