"""A server tells at once of what others change, over one connection more, whatever the client is."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory.engines.valkey import ValkeyEngine, watching
from betterdb_agent_memory.engines.valkey.watching import _without_overlap
from betterdb_agent_memory.errors import EngineUnavailableError
from tests.engines.valkey.test_clients import Minimal
from tests.proxy import Proxy
from tests.servers import ValkeyServer

SOON_SECONDS = 1.0
LOGGER = "betterdb_agent_memory.engines.valkey.watching"


class Ear:
    """Hears of changes, one after the other."""

    def __init__(self) -> None:
        self.times = 0
        self._heard = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._heard.set()

    async def hears(self, seconds: float = SOON_SECONDS) -> bool:
        try:
            await asyncio.wait_for(self._heard.wait(), seconds)
        except TimeoutError:
            return False
        self._heard.clear()
        return True


async def listeners(server: ValkeyServer) -> list[int]:
    """The connections that wait for messages; the raw clients of these tests are none of them."""
    client = server.client()
    try:
        return [int(entry["id"]) for entry in await client.client_list(_type="pubsub")]
    finally:
        await client.aclose()


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A server of this module alone, so that its connections can be counted."""
    with ValkeyServer(search=False, unix_socket=True) as server:
        yield server


@pytest.fixture
async def operator(server: ValkeyServer) -> AsyncIterator[Any]:
    """Somebody with a command line."""
    client = server.client()
    yield client
    await client.aclose()


@asynccontextmanager
async def engine_of(client: Any) -> AsyncIterator[ValkeyEngine]:
    engine = ValkeyEngine(client)
    try:
        yield engine
    finally:
        await engine.close()
        await client.aclose()


def blocking_pool(library: Any) -> Callable[..., Any]:
    client = library.Valkey if library is valkey.asyncio else library.Redis
    return lambda port: client.from_pool(library.BlockingConnectionPool(port=port, max_connections=1))


CLIENTS: dict[str, Callable[[int], Any]] = {
    f"{name}-{kind}": make
    for name, library, client in (
        ("valkey", valkey.asyncio, valkey.asyncio.Valkey),
        ("redis", redis.asyncio, redis.asyncio.Redis),
    )
    for kind, make in {
        "default": lambda port, client=client: client(port=port),
        "resp2": lambda port, client=client: client(port=port, protocol=2, decode_responses=True),
        "resp3": lambda port, client=client: client(port=port, protocol=3, decode_responses=True),
        "health-checks": lambda port, client=client: client(port=port, health_check_interval=1, socket_timeout=0.5),
        "one-connection-at-most": blocking_pool(library),
    }.items()
}


@pytest.mark.parametrize("kind", CLIENTS)
async def test_every_client_hears_at_once(kind: str, server: ValkeyServer, operator: Any, store_name: str) -> None:
    key = f"{store_name}:__mem_config"
    async with engine_of(CLIENTS[kind](server.port)) as engine:
        ear = Ear()
        watch = engine.watch([key], ear)
        assert await ear.hears()  # listening has begun
        for change in (
            operator.hset(key, "recall.threshold", "0.5"),
            operator.hdel(key, "recall.threshold"),
            operator.hset(key, "recall.threshold", "0.6"),
            operator.expire(key, 1000),
            operator.rename(key, f"{key}-away"),
            operator.rename(f"{key}-away", key),
            operator.delete(key),
            operator.flushall(),
        ):
            await change
            assert await ear.hears()
        times = ear.times
        await operator.hset(f"{key}s", "recall.threshold", "0.5")  # begins the same and is another key
        await operator.hset("x:__mem_config", "recall.threshold", "0.5")
        assert await engine.values.get("x") is None  # the client goes on as before
        assert not await ear.hears(0.2)
        assert ear.times == times
        await watch.close()
        assert await listeners(server) == []


@pytest.mark.parametrize("address", ["url", "socket_url"])
async def test_an_engine_of_a_url_hears_at_once(address: str, server: ValkeyServer, operator: Any) -> None:
    engine = ValkeyEngine.from_url(getattr(server, address))
    ear = Ear()
    engine.watch(["a:__mem_config"], ear)
    assert await ear.hears()
    await operator.hset("a:__mem_config", "recall.threshold", "0.5")
    assert await ear.hears()
    await engine.close()
    assert await listeners(server) == []


async def test_all_watches_of_an_engine_share_one_connection(server: ValkeyServer, operator: Any) -> None:
    async with engine_of(server.client()) as engine:
        first, second, third = Ear(), Ear(), Ear()
        watches = [engine.watch(["a:__mem_config"], first)]
        assert await first.hears()
        watches.append(engine.watch(["a:__tool_policies"], second))
        watches.append(engine.watch(["a:__tool_policies"], third))
        for ear in (first, second, third):
            assert await ear.hears()
        [own] = await listeners(server)
        await asyncio.sleep(0.1)
        before = (first.times, second.times, third.times)
        await operator.hset("a:__tool_policies", "search", '{"ttl":60}')
        assert await second.hears()
        assert await third.hears()
        assert (first.times, second.times, third.times) == (before[0], before[1] + 1, before[2] + 1)
        await watches[1].close()
        await operator.hset("a:__mem_config", "recall.threshold", "0.5")
        assert await first.hears()
        assert second.times == before[1] + 1
        assert await listeners(server) == [own]
        await watches[0].close()
        await watches[2].close()
        assert await listeners(server) == []


async def test_closing_leaves_no_task_and_no_connection(server: ValkeyServer) -> None:
    tasks = asyncio.all_tasks()
    client = server.client()
    async with engine_of(client) as engine:
        ears = [Ear() for _ in range(3)]
        for number, ear in enumerate(ears):
            engine.watch([f"{number}:__mem_config"], ear)  # each makes it begin anew, none is closed
        for ear in ears:
            assert await ear.hears()
    assert asyncio.all_tasks() == tasks
    assert await listeners(server) == []
    # Closed before it has begun.
    engine = ValkeyEngine(client)
    await engine.watch(["a"], Ear()).close()
    assert asyncio.all_tasks() == tasks
    await client.aclose()


async def test_a_broken_connection_is_made_anew_and_what_was_missed_is_told(
    server: ValkeyServer, operator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine_of(server.client()) as engine:
        ear = Ear()
        engine.watch(["a:__mem_config"], ear)
        assert await ear.hears()
        with caplog.at_level(logging.INFO, LOGGER):
            for _ in range(3):
                [own] = await listeners(server)
                await operator.client_kill_filter(_id=own)
                assert await ear.hears(), "what was missed is told"
                await operator.hset("a:__mem_config", "recall.threshold", "0.5")
                assert await ear.hears()
        assert len(caplog.records) == 1


async def test_a_server_that_comes_up_later_is_listened_to(operator: Any) -> None:
    later = ValkeyServer(search=False)
    with later:
        port = later.port
    async with engine_of(valkey.asyncio.Valkey(port=port)) as engine:
        ear = Ear()
        engine.watch(["a:__mem_config"], ear)
        assert not await ear.hears(0.3)
        with ValkeyServer(search=False) as up, Proxy(up.port, port=port):
            assert await ear.hears(3)
            client: Any = up.client()
            await client.hset("a:__mem_config", "recall.threshold", "0.5")
            assert await ear.hears()
            await client.aclose()


@pytest.mark.parametrize("library", [valkey.asyncio.Valkey, redis.asyncio.Redis])
async def test_a_connection_that_is_silent_for_ever_is_given_up(
    library: Any, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_QUIET_SECONDS", 0.1)
    with Proxy(server.port) as proxy:
        # A driver's own health checks would take the next message for their answer.
        async with engine_of(library(port=proxy.port, health_check_interval=0.05)) as engine:
            ear = Ear()
            engine.watch(["a:__mem_config"], ear)
            assert await ear.hears()
            assert not await ear.hears(0.5)  # quiet, and it answers when it is asked
            assert ear.times == 1
            proxy.fail_next("stall", b"PING")
            assert await ear.hears(2)
            proxy.release()


def limited(server: ValkeyServer, *rules: str) -> Any:
    """A client whose user may do everything but what the rules forbid."""
    client = server.blocking_client()
    client.execute_command("ACL", "SETUSER", "worker", "reset", "on", ">secret", "~*", "&*", "+@all", *rules)
    client.close()
    return valkey.asyncio.Valkey(port=server.port, username="worker", password="secret")


@pytest.mark.parametrize("rule", ["-client|tracking", "-client|id", "resetchannels", "-subscribe"])
async def test_a_server_that_refuses_is_left_alone(
    rule: str, server: ValkeyServer, operator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with engine_of(limited(server, rule)) as engine:
        ear = Ear()
        tasks = asyncio.all_tasks()
        engine.watch(["a:__mem_config"], ear)
        await asyncio.sleep(0.3)
        await operator.hset("a:__mem_config", "recall.threshold", "0.5")
        assert not await ear.hears(0.2)
        assert await listeners(server) == []
        assert asyncio.all_tasks() == tasks
        engine.watch(["a:__tool_policies"], ear)
        await asyncio.sleep(0.2)
    [line] = caplog.records
    assert "at intervals only" in line.getMessage()
    assert "secret" not in line.getMessage()


async def test_keyspace_events_serve_where_tracking_is_refused(server: ValkeyServer, operator: Any) -> None:
    await operator.config_set("notify-keyspace-events", "Kghxe")
    try:
        client = limited(server, "-client|tracking")
        async with engine_of(client) as engine:
            ear, other = Ear(), Ear()
            engine.watch(["a:__mem_config", "a*:__tool_policies"], ear)
            engine.watch(["b:__mem_config"], other)
            assert await ear.hears()
            assert await other.hears()
            await asyncio.sleep(0.2)
            times = other.times
            for key in ("a:__mem_config", "a*:__tool_policies"):
                await operator.hset(key, "x", "1")
                assert await ear.hears()
                await operator.delete(key)
                assert await ear.hears()
            assert other.times == times
    finally:
        await operator.config_set("notify-keyspace-events", "")


async def test_events_of_another_database_are_not_ours(server: ValkeyServer) -> None:
    client: Any = server.client(db=3)
    await client.config_set("notify-keyspace-events", "KA")
    try:
        worker = limited(server, "-client|tracking")
        worker.connection_pool.connection_kwargs["db"] = 3
        async with engine_of(worker) as engine:
            ear = Ear()
            engine.watch(["a:__mem_config"], ear)
            assert await ear.hears()
            await client.hset("a:__mem_config", "x", "1")
            assert await ear.hears()
    finally:
        await client.config_set("notify-keyspace-events", "")
        await client.aclose()


@pytest.mark.parametrize(
    "make",
    [
        lambda port: valkey.asyncio.Valkey(port=port, single_connection_client=True),
        lambda port: redis.asyncio.Redis(port=port, single_connection_client=True),
        lambda port: Minimal(valkey.asyncio.Valkey(port=port)),
    ],
    ids=["valkey-single", "redis-single", "unknown"],
)
async def test_no_connection_is_added_to_a_single_one_nor_to_an_unknown_client(
    make: Callable[[int], Any], server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with engine_of(make(server.port)) as engine:
        ear = Ear()
        await engine.values.get("x")
        engine.watch(["a:__mem_config"], ear)
        assert not await ear.hears(0.2)
        assert await listeners(server) == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        (["b:x", "a:x"], ["a:x", "b:x"]),
        (["a:x", "a:xy", "a:xyz", "a:y"], ["a:x", "a:y"]),
        (["a:xy", "a:x"], ["a:x"]),
    ],
)
def test_prefixes_do_not_overlap(keys: list[str], kept: list[str]) -> None:
    assert _without_overlap(keys) == kept


async def test_keys_that_begin_alike_are_told_apart(server: ValkeyServer, operator: Any) -> None:
    async with engine_of(server.client()) as engine:
        short, long = Ear(), Ear()
        engine.watch(["a:__mem_config"], short)
        assert await short.hears()
        engine.watch(["a:__mem_config:__mem_config"], long)
        assert await long.hears()
        await asyncio.sleep(0.2)
        times = short.times
        await operator.hset("a:__mem_config:__mem_config", "x", "1")
        assert await long.hears()
        assert short.times == times


FORGETS_TO_CLOSE = """
import asyncio, sys
from betterdb_agent_memory.engines.valkey import ValkeyEngine

async def main(pauses):
    engine = ValkeyEngine.from_url(sys.argv[1])
    engine.watch(["a:__mem_config"], lambda: None)
    for _ in range(pauses):
        await asyncio.sleep(0)

for pauses in range(int(sys.argv[2]), 60, 4):
    asyncio.run(main(pauses))
print("ended")
"""


@pytest.mark.parametrize("first", range(4))
def test_a_program_that_forgets_to_close_ends(first: int, server: ValkeyServer) -> None:
    # Wherever listening has come to when the loop ends.
    assert program(FORGETS_TO_CLOSE, server.url, str(first)) == "ended"


@pytest.mark.parametrize("what", [b"SETINFO", b"TRACKING", b"SUBSCRIBE"])
def test_a_program_that_forgets_to_close_ends_while_the_server_stalls(what: bytes, server: ValkeyServer) -> None:
    with Proxy(server.port) as proxy:
        for _ in range(20):
            proxy.fail_next("stall", what)
        assert program(FORGETS_TO_CLOSE.replace("sleep(0)", "sleep(0.005)"), proxy.url, "3") == "ended"
        proxy.release()


def program(text: str, *arguments: str) -> str:
    """What a program of its own prints; it has 20 s to end."""
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments], timeout=20, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("method", ["connect", "send_command", "read_response", "disconnect"])
async def test_a_cancellation_that_the_driver_swallows_ends_it(
    method: str, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As asyncio.wait_for of Python 3.11 does when what it waits for has just come. A loop that ends cancels once.
    original = getattr(valkey.asyncio.Connection, method)
    reached = asyncio.Event()

    async def swallowing(connection: Any, *arguments: Any, **options: Any) -> Any:
        try:
            if options.get("timeout") is None or method == "disconnect":
                reached.set()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pass
        return await original(connection, *arguments, **options)

    client = server.client()
    monkeypatch.setattr(valkey.asyncio.Connection, method, swallowing)
    if method == "disconnect":
        monkeypatch.setattr(watching, "_hear", _broken)
    task = asyncio.ensure_future(ValkeyEngine(client)._client.listener().listen(frozenset(["a"]), lambda _: None))
    await asyncio.wait_for(reached.wait(), 5)
    task.cancel()
    _, running = await asyncio.wait([task], timeout=2)
    monkeypatch.undo()
    task.cancel()
    assert not running
    await client.aclose()


async def _broken(*_: Any) -> None:
    raise EngineUnavailableError("broken")
