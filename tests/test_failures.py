"""A server that is not there, not right, or gone in the middle of a call."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
import redis.asyncio
import valkey
import valkey.asyncio

from betterdb_agent_memory import (
    AgentMemory,
    AgentMemoryOptions,
    AuthenticationFailedError,
    ConfigurationError,
    EngineError,
    EngineUnavailableError,
    IndexMismatchError,
    MemoryListOptions,
    MemoryStore,
    OutcomeUnknownError,
    SearchModuleMissingError,
)
from betterdb_agent_memory.engines.valkey.scripts import load_script
from tests.embedding import AHEAD, embed
from tests.proxy import Proxy
from tests.servers import ValkeyServer, free_port


@pytest.fixture
def proxy(valkey_server: ValkeyServer) -> Iterator[Proxy]:
    with Proxy(valkey_server.port) as proxy:
        yield proxy


@pytest.fixture(params=["valkey", "redis"])
async def store(request: pytest.FixtureRequest, proxy: Proxy, store_name: str) -> AsyncIterator[MemoryStore]:
    """A store behind a proxy that breaks what it is told to break."""
    library = {"valkey": valkey.asyncio.Valkey, "redis": redis.asyncio.Redis}[request.param]
    client = library(host="127.0.0.1", port=proxy.port, socket_timeout=2)
    store = MemoryStore(client=client, name=store_name, embed_fn=embed, default_threshold=2.0)
    await store.ensure_index()
    yield store
    await store.close()
    await client.aclose()


@pytest.fixture
async def direct(valkey_server: ValkeyServer, store_name: str) -> AsyncIterator[MemoryStore]:
    """The same store without the proxy: sees what really happened."""
    client = valkey_server.client()
    yield MemoryStore(client=client, name=store_name, embed_fn=embed, default_threshold=2.0)
    await client.aclose()


@pytest.mark.parametrize("ttl", [None, 60])
async def test_a_write_whose_reply_is_lost_is_whole_and_its_id_is_told(
    store: MemoryStore, direct: MemoryStore, proxy: Proxy, ttl: int | None
) -> None:
    await store.remember("opens the connection", ttl=ttl)
    proxy.fail_next("after", b"the lost one")
    with pytest.raises(OutcomeUnknownError) as caught:
        await store.remember("the lost one", tags=["a"], ttl=ttl)
    [id] = caught.value.ids
    item = await direct.get(id)
    assert item is not None
    assert (item.content, item.tags) == ("the lost one", ["a"])
    assert (await direct.stats()).item_count == 2


@pytest.mark.parametrize("ttl", [None, 60])
async def test_a_write_that_never_arrives_leaves_nothing(
    store: MemoryStore, direct: MemoryStore, proxy: Proxy, ttl: int | None
) -> None:
    await store.remember("opens the connection", ttl=ttl)
    proxy.fail_next("before", b"the lost one")
    with pytest.raises(EngineError) as caught:
        await store.remember("the lost one", ttl=ttl)
    assert isinstance(caught.value, OutcomeUnknownError | EngineUnavailableError)
    assert (await direct.stats()).item_count == 1
    assert (await direct.list(MemoryListOptions())).items[0].content == "opens the connection"


async def test_a_store_recovers_after_its_connections_were_cut(
    store: MemoryStore, direct: MemoryStore, proxy: Proxy
) -> None:
    id = await store.remember(AHEAD)
    proxy.cut_all()
    await asyncio.sleep(0.05)
    hits = None
    for _ in range(3):
        try:
            hits = await store.recall(AHEAD)
            break
        except EngineError:
            continue
    assert hits is not None
    assert [hit.item.id for hit in hits] == [id]


async def test_lost_reinforcement_is_counted_and_the_hits_are_returned(
    store: MemoryStore, direct: MemoryStore, proxy: Proxy
) -> None:
    id = await store.remember(AHEAD)
    await store.recall(AHEAD)
    proxy.fail_next("after", load_script("change").digest.encode())
    assert [hit.item.id for hit in await store.recall(AHEAD)] == [id]
    item = await direct.get(id)
    assert item is not None
    assert item.access_count == 2  # the server had done it; it is not done twice
    assert (await store.stats()).background_failures == 1


async def test_forgetting_that_breaks_off_says_how_far_it_came(
    store: MemoryStore, direct: MemoryStore, proxy: Proxy
) -> None:
    for number in range(600):
        await direct.remember(f"m{number}", thread_id="t")
    assert not await direct.forget("nobody")  # the server knows the script now
    proxy.fail_next("after", load_script("delete").digest.encode())
    with pytest.raises(EngineError) as caught:
        await store.forget_by_scope(thread_id="t")
    assert any("0 memories had been forgotten" in note for note in caught.value.__notes__)
    # Some of the first page, or all of it, was deleted, and only the answers were lost.
    assert 100 <= await store.forget_by_scope(thread_id="t") < 600
    assert (await direct.stats()).item_count == 0


FORKED = """
import asyncio, os, sys
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineUnavailableError

async def embed(text): return [1.0, 0.0]
engine = ValkeyEngine.from_url(sys.argv[1])
store = MemoryStore(client=engine, name=sys.argv[2], embed_fn=embed)
loop = asyncio.new_event_loop()
ids = [loop.run_until_complete(store.remember(f"text {n}")) for n in range(20)]
child = os.fork()
if child == 0:
    try:
        asyncio.new_event_loop().run_until_complete(store.get(ids[3]))
    except EngineUnavailableError as error:
        print(error, flush=True)
    os._exit(0)
right = [loop.run_until_complete(store.get(id)).content == f"text {n}" for n, id in enumerate(ids)]
os.waitpid(child, 0)
print(all(right), len(right))
"""


def test_a_forked_child_is_refused_and_its_parent_gets_its_own_answers(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, valkey_server.url, store_name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told, parent = done.stdout.splitlines() if done.returncode == 0 else (done.stderr, "")
    assert "open one after the fork" in told
    assert parent == "True 20"


async def test_no_server_says_so(store_name: str) -> None:
    agent = AgentMemory.open(f"valkey://:secret@127.0.0.1:{free_port()}", name=store_name, embedder=embed)
    with pytest.raises(EngineUnavailableError) as caught:
        await agent.initialize()
    assert "secret" not in str(caught.value)
    await agent.close()


async def test_a_wrong_password_says_so_and_is_not_shown() -> None:
    with ValkeyServer(password="right") as server:
        agent = AgentMemory.open(f"valkey://:wrong-one@127.0.0.1:{server.port}", embedder=embed)
        with pytest.raises(AuthenticationFailedError) as caught:
            await agent.initialize()
        assert "wrong-one" not in str(caught.value)
        await agent.close()
        async with AgentMemory.open(f"valkey://:right@127.0.0.1:{server.port}", embedder=embed) as agent:
            await agent.memory.remember("x")


async def test_a_server_without_a_search_module_says_how_to_get_one() -> None:
    with ValkeyServer(search=False) as server:
        agent = AgentMemory.open(server.url, embedder=embed)
        with pytest.raises(SearchModuleMissingError, match="valkey-bundle"):
            await agent.initialize()
        await agent.close()


async def test_the_server_dies_while_calls_are_under_way(store_name: str) -> None:
    with ValkeyServer() as server:
        agent = AgentMemory.open(server.url, name=store_name, embedder=embed)
        await agent.initialize()
        await agent.memory.remember(AHEAD)
        calls = [asyncio.create_task(agent.memory.remember(f"m{n}", ttl=60)) for n in range(200)]
        await asyncio.sleep(0.01)
        server.stop()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, str | EngineError) for outcome in outcomes)
        assert any(isinstance(outcome, EngineError) for outcome in outcomes)
        with pytest.raises(EngineError):
            await agent.memory.recall(AHEAD)
        await agent.close()


async def test_an_index_that_was_dropped_is_made_again(
    store: MemoryStore, valkey_server: ValkeyServer, store_name: str
) -> None:
    id = await store.remember(AHEAD, thread_id="t")
    client = valkey_server.client()
    await client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    for _ in range(50):
        hits = await store.recall(AHEAD, thread_id="t")
        if hits:
            break
        await asyncio.sleep(0.05)  # existing records are taken in by the server in the background
    assert [hit.item.id for hit in hits] == [id]
    await client.aclose()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("DIM", "16", "DISTANCE_METRIC", "COSINE"), ("16", "8")),
        (("DIM", "8", "DISTANCE_METRIC", "L2"), ("L2", "COSINE")),
    ],
    ids=["dimension", "metric"],
)
async def test_an_existing_index_that_does_not_fit_is_refused_at_start(
    valkey_server: ValkeyServer, store_name: str, arguments: tuple[str, ...], says: tuple[str, str]
) -> None:
    client = valkey_server.client()
    await client.execute_command(
        *("FT.CREATE", f"{store_name}:mem:idx", "ON", "HASH", "PREFIX", "1", f"{store_name}:mem:", "SCHEMA"),
        *("vector", "VECTOR", "HNSW", "6", "TYPE", "FLOAT32", *arguments),
        *("threadId", "TAG", "created_at", "NUMERIC", "SORTABLE", "content", "TEXT"),
    )

    class Stated:
        name, dimensions, default_threshold = "stated", 8, 2.0

        async def embed_query(self, text: str) -> list[float]:
            return await embed(text)

        async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
            return [await embed(text) for text in texts]

    store = MemoryStore(client=client, name=store_name, embed_fn=Stated())
    with pytest.raises(IndexMismatchError) as caught:
        await store.ensure_index()
    assert all(value in str(caught.value) for value in says)
    await client.aclose()


async def test_an_index_over_another_prefix_is_refused_at_start(valkey_server: ValkeyServer, store_name: str) -> None:
    client = valkey_server.client()
    await client.execute_command(
        *("FT.CREATE", f"{store_name}:mem:idx", "ON", "HASH", "PREFIX", "1", "elsewhere:", "SCHEMA"),
        *("vector", "VECTOR", "HNSW", "6", "TYPE", "FLOAT32", "DIM", "8", "DISTANCE_METRIC", "COSINE"),
    )
    with pytest.raises(IndexMismatchError, match=rf"elsewhere:.*{store_name}:mem:|{store_name}:mem:.*elsewhere:"):
        await MemoryStore(client=client, name=store_name, embed_fn=embed).ensure_index()
    await client.aclose()


async def test_twenty_workers_start_at_once(valkey_server: ValkeyServer, store_name: str) -> None:
    clients = [valkey_server.client() for _ in range(20)]
    stores = [MemoryStore(client=client, name=store_name, embed_fn=embed, default_threshold=2.0) for client in clients]
    await asyncio.gather(*(store.ensure_index() for store in stores))
    ids = await asyncio.gather(*(store.remember(AHEAD) for store in stores))
    assert {hit.item.id for hit in await stores[0].recall(AHEAD, k=50)} == set(ids)
    for client in clients:
        await client.aclose()


async def test_a_blocking_client_is_refused(valkey_server: ValkeyServer) -> None:
    client = valkey.Valkey(port=valkey_server.port)
    with pytest.raises(ConfigurationError, match="asyncio"):
        MemoryStore(client=client, name="x", embed_fn=embed)
    client.close()


@pytest.mark.parametrize("library", ["valkey", "redis"])
async def test_closing_does_not_wait_long_for_a_server_that_hangs(
    library: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ValkeyServer() as server:
        if library == "valkey":
            agent = AgentMemory.open(server.url, embedder=embed)
        else:
            client = redis.asyncio.Redis(port=server.port, socket_timeout=15)
            agent = AgentMemory(AgentMemoryOptions(client, embed_fn=embed))
        await agent.initialize()
        await agent.memory.remember("note")
        assert await agent.memory.recall("note")
        await agent.tool.check("weather", {})
        os.kill(server.pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            await agent.close()
            assert time.monotonic() - begun < 16
        finally:
            os.kill(server.pid, signal.SIGCONT)
        if library == "redis":
            await client.aclose()
    assert "counts of cache betterdb_ac were lost at close" in caplog.text
    assert ("reinforcements of store betterdb_ac were lost" in caplog.text) == (library == "valkey")


@pytest.mark.parametrize("url", ["postgres://localhost/x", "http://localhost", "", "valkey+ring://localhost"])
def test_an_unknown_url_names_the_known_ones(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BETTERDB_URL", raising=False)
    with pytest.raises(ConfigurationError, match=r"valkey://|empty"):
        AgentMemory.open(url, embedder=embed)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (5, "url must be a text or a path, got int"),
        ("valkey://me:s3cret@localhost:6379?socket_timeot=3", "url: .*'socket_timeot'"),
        ("valkey://me:s3cret@localhost:6379?protocol=7", "url: "),
        ("valkeys://me:s3cret@localhost:6379?ssl_cert_reqs=s3cret", "url: "),
        ("valkey://me:s3cret@localhost:6379/notadb", "url: .*database"),
        ("valkey://me:1/s3cret@localhost:6379", "url: .*%2F"),
    ],
)
def test_a_url_that_cannot_work_is_refused_when_it_is_opened(url: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        AgentMemory.open(url, embedder=embed)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("rest", ["localhost", "localhost:6379/", "localhost:6379/3", "localhost/3/?socket_timeout=3"])
def test_a_url_may_name_a_database_and_settings(rest: str) -> None:
    AgentMemory.open(f"valkey://{rest}", embedder=embed)


@pytest.mark.parametrize("name", ["", "a b", "d:mem", "d:mem:x", "x" * 201, "a\nb"])
async def test_a_store_name_that_could_collide_is_refused(name: str, valkey_client: valkey.asyncio.Valkey) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        MemoryStore(client=valkey_client, name=name, embed_fn=embed)


async def test_without_an_embedder_only_what_embeds_is_refused(
    valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await MemoryStore(client=valkey_client, name=store_name, embed_fn=embed).remember("x")
    reader = MemoryStore(client=valkey_client, name=store_name)
    assert (await reader.list()).total == 1
    assert len(await reader.recall_by_vector(await embed("x"))) == 1
    for call in (reader.remember("x"), reader.recall("x")):
        with pytest.raises(ConfigurationError, match="embed_fn="):
            await call


async def test_a_memory_is_stored_although_what_it_contradicts_could_not_be_told(
    store: MemoryStore, direct: MemoryStore, proxy: Proxy
) -> None:
    await store.remember("Ann lives in Paris", id="a")
    proxy.fail_next("after", b"0.24")  # the reliability that is written
    [result] = await store.remember_many([{"content": "Ann lives in Sofia", "contradicts": "a"}])
    assert (result.outcome, type(result.error)) == ("stored", OutcomeUnknownError)
    assert result.id is not None
    assert await direct.get(result.id) is not None
    proxy.fail_next("before", b"0.072")
    with pytest.raises(EngineError) as raised:
        await store.remember("Ann lives in Varna", contradicts="a", on_duplicate="merge")
    assert "the memory is stored" in "".join(raised.value.__notes__)
    new = await store.remember("Ann lives in Varna", contradicts="a", on_duplicate="merge")
    found = await direct.get("a")
    assert found is not None
    assert found.dynamics.contradicted_by == (result.id, new)
    assert found.dynamics.reliability == pytest.approx(0.072)
