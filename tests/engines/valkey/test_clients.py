"""Every client as users have them answers the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio
import valkey
import valkey.asyncio

from betterdb_agent_memory.engines.base import Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.engines.filters import AnyOf, Between, Equals, Filter, HasTag, IdIn, Not
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import ConfigurationError, EngineError, EngineUnavailableError, IndexMissingError
from tests.engines.searching import nearest
from tests.engines.valkey.samples import CREATED_AT_MS, collection, record, vector
from tests.servers import ValkeyServer


class Minimal:
    """The published protocol and nothing else."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def execute_command(self, *args: Any) -> Any:
        return await self._client.execute_command(*args)

    async def aclose(self) -> None:
        await self._client.aclose()


def pooled(library: Any, **options: Any) -> Callable[[int], Any]:
    client = library.Valkey if library is valkey.asyncio else library.Redis
    return lambda port: client(port=port, **options)


def blocking(library: Any) -> Callable[[int], Any]:
    client = library.Valkey if library is valkey.asyncio else library.Redis
    return lambda port: client.from_pool(library.BlockingConnectionPool(port=port, max_connections=2))


CLIENTS: dict[str, Callable[[int], Any]] = {
    f"{name}-{kind}": make
    for name, library in (("valkey", valkey.asyncio), ("redis", redis.asyncio))
    for kind, make in {
        "default": pooled(library),
        "resp2": pooled(library, protocol=2),
        "resp3": pooled(library, protocol=3),
        "resp2-decoding": pooled(library, protocol=2, decode_responses=True),
        "resp3-decoding": pooled(library, protocol=3, decode_responses=True),
        "single": pooled(library, single_connection_client=True),
        "blocking": blocking(library),
    }.items()
} | {
    "minimal": lambda port: Minimal(valkey.asyncio.Valkey(port=port)),
    "minimal-resp3": lambda port: Minimal(redis.asyncio.Redis(port=port)),
}


@pytest.fixture(params=CLIENTS)
async def any_engine(request: pytest.FixtureRequest, valkey_server: ValkeyServer) -> Any:
    client = CLIENTS[request.param](valkey_server.port)
    yield ValkeyEngine(client)
    await client.aclose()


async def test_every_verb_works_with_every_client(any_engine: ValkeyEngine, store_name: str) -> None:
    records, values = any_engine.records(collection(store_name)), any_engine.values
    state = await records.prepare(4)
    assert (state.dimensions, state.created, (await records.prepare(4)).created) == (4, True, False)
    await records.write_many(
        [record(str(n), at=n, vector=vector(1, n, 0, 0), threadId="Té", tags="a,b") for n in range(5)]
    )
    await records.write_many([record("other", threadId="té")])
    thread = Filter((Equals("threadId", "Té"), HasTag("tags", "b")))
    near = await nearest(records, vector(1, 0, 0, 0), count=3, filter=thread, fields=["threadId", "tags", "created_at"])
    assert [row.id for row in near] == ["0", "1", "2"]
    assert near[0].distance == pytest.approx(0, abs=1e-6)
    assert near[1].fields == {
        "threadId": "Té".encode(),
        "tags": b"a,b",
        "created_at": str(CREATED_AT_MS + 1).encode(),
    }
    page = await records.select(
        thread, fields=["created_at"], limit=2, offset=1, order_by="created_at", descending=True
    )
    assert ([row.id for row in page.rows], page.total) == (["3", "2"], 5)
    assert (await records.count(Filter()), await records.count(thread)) == (6, 5)
    assert await records.change_many([RecordChange("0", {"last_accessed_at": 2 * CREATED_AT_MS}, {"access_count": 2})])
    assert await records.read_many(["0", "gone"], ["access_count", "vector", "last_accessed_at", "none"]) == [
        {
            "access_count": b"2",
            "vector": vector(1, 0, 0, 0),
            "last_accessed_at": str(2 * CREATED_AT_MS).encode(),
        },
        None,
    ]
    assert await records.delete_many(["0", "gone", "1"]) == [True, False, True]

    half = Filter((AnyOf((Between("importance", 0.5, 0.5), Not(HasTag("tags", "a")))),))
    walked = [row async for rows in records.walk(half, fields=["importance", "vector"], page_size=2) for row in rows]
    assert sorted(row.id for row in walked) == ["2", "3", "4", "other"]
    [two] = [row for row in walked if row.id == "2"]
    assert two.fields == {"importance": b"0.5", "vector": vector(1, 2, 0, 0)}
    assert (await records.count(half), await records.count(Filter((IdIn(frozenset("23x")),)))) == (4, 2)
    scanned = {row.id: row.fields async for rows in records.scan(["vector"]) for row in rows}
    assert (sorted(scanned), scanned["3"]) == (["2", "3", "4", "other"], {"vector": vector(1, 3, 0, 0)})
    assert await records.write_many(
        [
            RecordWrite("2", {"content": b"x"}, if_exists=RecordChange("2", sets={"source": b"\xff"})),
            RecordWrite("new", record("new").fields, is_new=True),
            record("timed", expires_at_ms=4_000_000_000_123),
        ]
    ) == [Outcome.CHANGED, Outcome.WRITTEN, Outcome.WRITTEN]
    [whole] = await records.read_many(["2"], None)
    assert whole is not None
    assert (whole["source"], whole["vector"]) == (b"\xff", vector(1, 2, 0, 0))
    assert await records.read_expiries(["2", "timed"]) == [None, 4_000_000_000_123]
    assert await records.delete_many(["2", "3"], expected=[{"source": b"\xff"}, {"source": b"s"}]) == [True, False]
    assert (await records.rebuild(4)).dimensions == 4
    assert await records.drop() == 5

    token = await any_engine.leases.acquire(f"{store_name}:lease", "me", ttl_seconds=5)
    assert token == await any_engine.leases.acquire(f"{store_name}:lease", "me", ttl_seconds=5)
    assert await any_engine.leases.release(f"{store_name}:lease", "me")

    key = f"{store_name}:value"
    assert await values.get(key) is None
    assert await values.set(key, b"\xff\0", ttl_seconds=60)
    assert not await values.set(key, b"other", only_if_absent=True)
    assert await values.get(key) == b"\xff\0"
    assert (await values.delete(key), await values.delete(key)) == (True, False)
    assert await values.read_map(key) == {}
    await values.write_map(key, {"a": b"\xfe", "b": b"2"})
    assert await values.increment(key, "b", 40) == 42
    assert await values.read_map(key) == {"a": b"\xfe", "b": b"42"}
    assert await values.remove_fields(key, ["a", "b", "c"]) == 2


async def test_refusals_are_told_alike_by_every_client(any_engine: ValkeyEngine, store_name: str) -> None:
    records, values = any_engine.records(collection(store_name)), any_engine.values
    with pytest.raises(IndexMissingError):
        await records.select(Filter(), fields=["content"], limit=1)
    await values.set(f"{store_name}:text", b"x")
    with pytest.raises(EngineError, match="WRONGTYPE|wrong kind"):
        await values.increment(f"{store_name}:text", "f", 1)
    with pytest.raises(EngineError, match="WRONGTYPE|wrong kind"):
        await values.read_map(f"{store_name}:text")


async def test_many_tasks_share_one_client_and_cancelled_ones_do_no_harm(
    any_engine: ValkeyEngine, store_name: str
) -> None:
    records = any_engine.records(collection(store_name))
    await records.prepare(4)

    async def work(n: int) -> None:
        await records.write_many([record(f"{n}", ttl_seconds=60, threadId=f"t{n}")])
        thread = Filter((Equals("threadId", f"t{n}"),))
        near = await nearest(records, vector(1, 0, 0, 0), count=3, filter=thread, fields=["threadId"])
        assert [row.id for row in near] == [f"{n}"]
        assert await records.change_many([RecordChange(f"{n}", {}, {"access_count": 1})]) == [Outcome.CHANGED]
        assert await records.read_many([f"{n}"], ["threadId"]) == [{"threadId": f"t{n}".encode()}]

    tasks = [asyncio.create_task(work(n)) for n in range(60)]
    for step, task in enumerate(tasks[::3]):
        await asyncio.sleep(0.0005 * (step % 3))
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}
    assert outcomes.count(None) >= 40
    await asyncio.gather(*(work(n) for n in range(100, 120)))


TIMED: dict[str, Callable[[int], Any]] = {
    "valkey": pooled(valkey.asyncio, socket_timeout=5),
    "redis": pooled(redis.asyncio, socket_timeout=5),
    "single": pooled(valkey.asyncio, socket_timeout=5, single_connection_client=True),
    "minimal": lambda port: Minimal(valkey.asyncio.Valkey(port=port, socket_timeout=5)),
}
"""On Python 3.11 these swallow about every second cancellation."""


@pytest.mark.parametrize("kind", TIMED)
async def test_a_loop_of_requests_ends_when_it_is_cancelled(
    kind: str, valkey_server: ValkeyServer, store_name: str
) -> None:
    engine = ValkeyEngine(TIMED[kind](valkey_server.port), owns_client=True)
    records, keys = engine.records(collection(store_name)), [f"{store_name}:{n}" for n in range(3)]
    await records.prepare(4)
    await records.write_many([record(str(n)) for n in range(9)])
    for key in keys:
        await engine.values.set(key, key.encode())
    answered = asyncio.Event()

    async def ask(n: int) -> None:
        while True:
            if n % 2:
                assert await engine.values.get(keys[n % 3]) == keys[n % 3].encode()
            else:
                found = await records.read_many([str(m) for m in range(n % 9 + 1)], ["content"])
                assert len(found) == n % 9 + 1
            answered.set()

    for n in range(40):
        loop = asyncio.create_task(ask(n))
        await answered.wait()
        answered.clear()
        for _ in range(n % 5):
            await asyncio.sleep(0)
        loop.cancel()
        _, going_on = await asyncio.wait([loop], timeout=2)
        loop.cancel()
        assert not going_on
        assert loop.cancelled()
    assert [await engine.values.get(key) for key in keys] == [key.encode() for key in keys]
    await engine.close()


@pytest.mark.parametrize("kind", TIMED)
async def test_who_is_cancelled_while_it_runs_gets_no_answer(
    kind: str, valkey_server: ValkeyServer, store_name: str
) -> None:
    engine = ValkeyEngine(TIMED[kind](valkey_server.port), owns_client=True)
    await engine.values.get(store_name)

    async def told_to_end() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # as a signal does, between two waits
        await engine.values.get(store_name)

    for _ in range(5):
        task = asyncio.create_task(told_to_end())
        await asyncio.wait([task])
        assert task.cancelled()
    await engine.close()


async def test_who_was_cancelled_can_still_ask_to_clean_up(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    await engine.values.set(store_name, b"1")

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            assert await engine.values.delete(store_name)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await engine.values.get(store_name) is None
    await engine.close()


async def test_a_borrowed_client_stays_open_and_an_owned_one_is_closed(valkey_server: ValkeyServer) -> None:
    closed: list[bool] = []

    class Watched(valkey.asyncio.Valkey):
        async def aclose(self, *args: Any, **options: Any) -> None:
            closed.append(True)
            await super().aclose(*args, **options)

    client = Watched(port=valkey_server.port)
    await ValkeyEngine(client).close()
    assert not closed
    await ValkeyEngine(client, owns_client=True).close()
    assert closed == [True]


@pytest.mark.parametrize("client", [valkey.Valkey(port=1), object()])
def test_a_client_that_cannot_be_awaited_is_refused_at_once(client: Any) -> None:
    with pytest.raises(ConfigurationError):
        ValkeyEngine(client)


@pytest.mark.parametrize(
    "url",
    [
        "http://:SeCrEt@h",
        "SeCrEt",
        "valkey://u:SeCrEt#more@h",
        "valkey://u:x@h:SeCrEt/0",
        "valkey://:SeCrEt@h/0?socket_timeout=x",
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        ValkeyEngine.from_url(url)
    assert "SeCrEt" not in f"{refusal.value!r} {refusal.value.__cause__!r}"


async def test_a_second_loop_is_refused_while_the_first_one_runs(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    await engine.values.set(store_name, b"1")

    async def elsewhere() -> str:
        try:
            await engine.values.get(store_name)
        except EngineUnavailableError as error:
            return str(error)
        return "answered"

    for _ in range(20):
        refused = await asyncio.to_thread(asyncio.run, elsewhere())
        assert "another event loop, which is still running" in refused
        assert await engine.values.get(store_name) == b"1"
    await engine.close()
