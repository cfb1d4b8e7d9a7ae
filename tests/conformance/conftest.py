"""One suite, every place a memory can live in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.conformance.pooled import NOT_FOR_POOLS, PooledEngine
from tests.embedding import embed
from tests.servers import ValkeyServer

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
CONFIGURATIONS = [FILE, MEMORY, URL, POOL, BLOCKING_POOL, SINGLE, POOLED, *PROTOCOLS]


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
async def make_store(engine: Engine, clock: TestClock) -> AsyncIterator[MakeStore]:
    """Makes stores of one name on the engine, with the threshold wide open."""
    name = f"t{uuid4().hex[:12]}"
    made: list[MemoryStore] = []

    def make(**options: object) -> MemoryStore:
        defaults: dict[str, Any] = {
            "client": engine,
            "name": name,
            "embed_fn": embed,
            "default_threshold": 2.0,
            "clock": clock,
        }
        made.append(MemoryStore(**(defaults | options)))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(make_store: MakeStore) -> MemoryStore:
    """One store, ready."""
    return make_store()
