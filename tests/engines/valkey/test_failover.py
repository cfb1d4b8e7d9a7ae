"""A primary that is relieved or killed while it is used: what was acknowledged is there, nothing happens twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.values import Reply
from betterdb_agent_memory.errors import (
    AuthenticationFailedError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
)
from tests.clusters import MASTER, SentinelSet, ValkeyCluster, tell, wait_for
from tests.embedding import AHEAD, at_angle, embed
from tests.engines.valkey.test_watching import Ear
from tests.servers import ValkeyServer, free_port
from tests.waiting import until

AGAIN_SECONDS = 20.0


class Counting:
    """Tasks that count up, each its own keys, and note what they were told."""

    def __init__(self, engine: ValkeyEngine, keys: Sequence[str]) -> None:
        self._engine = engine
        self._keys = keys
        self.done: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.not_done = 0
        self._is_over = False
        self._tasks = [asyncio.create_task(self._count(keys[n::3])) for n in range(3)]

    async def _count(self, keys: Sequence[str]) -> None:
        while not self._is_over:
            batch = self._engine.values.batch()
            replies = {key: batch.increment(key, "n", 1) for key in keys}
            try:
                await batch.send()
            except EngineUnavailableError:
                self.not_done += len(keys)
                await asyncio.sleep(0.01)
                continue
            for key, reply in replies.items():
                self._note(key, reply)

    def _note(self, key: str, reply: Reply[int]) -> None:
        try:
            reply.result()
        except OutcomeUnknownError:
            self.unknown[key] += 1
        except EngineUnavailableError:
            self.not_done += 1
        else:
            self.done[key] += 1

    async def more(self, key: str) -> None:
        """Wait until a key has been counted again."""
        seen = self.done[key]
        await until(lambda: self.done[key] > seen + 2, seconds=AGAIN_SECONDS)

    async def end(self) -> None:
        self._is_over = True
        await asyncio.wait(self._tasks)

    async def check(self) -> None:
        """Compare with what is stored, once it has ended."""
        await asyncio.gather(*self._tasks)
        for key in self._keys:
            stored = int((await self._engine.values.read_map(key))["n"])
            assert self.done[key] <= stored <= self.done[key] + self.unknown[key], key
        assert sum(self.done.values()) > 10 * sum(self.unknown.values())


class Asking:
    """A task that recalls again and again; what it gets is right or an error."""

    def __init__(self, store: MemoryStore, expected: set[str]) -> None:
        self.answered = 0
        self.errors: list[Exception] = []
        self._store, self._expected = store, expected
        self._task = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        while True:
            try:
                hits = await self._store.recall(AHEAD, k=20, thread_id="t", reinforce=False)
            except EngineError as error:
                self.errors.append(error)
            else:
                assert {hit.item.id for hit in hits} >= self._expected  # one may just have come
                self.answered += 1
            await asyncio.sleep(0.01)

    async def more(self) -> None:
        """Wait until it was answered again."""
        seen = self.answered
        await until(lambda: self.answered > seen + 2 or self._task.done(), seconds=AGAIN_SECONDS)
        assert not self._task.done(), self._task.exception()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


def stop_writes(primary: ValkeyServer, replica: ValkeyServer) -> None:
    """Writes wait unanswered from now on, and what was acknowledged reaches the replica.

    A server acknowledges before its replicas have the write: what it has when it is killed may be lost by any client.
    """
    tell(primary, "CLIENT", "PAUSE", 20_000, "WRITE")
    wait_for("the replica", lambda: tell(replica, "ROLE")[4] == tell(primary, "ROLE")[1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """One of this module alone: its primaries do not stay what they were."""
    with ValkeyCluster() as cluster:
        yield cluster


async def used(engine: ValkeyEngine, tag: str) -> tuple[MemoryStore, set[str]]:
    """A store with ten memories."""
    store = MemoryStore(client=engine, name=f"{{{tag}}}", embed_fn=embed, default_threshold=2.0)
    return store, {await store.remember(at_angle(1 - n / 20), thread_id="t") for n in range(10)}


async def test_a_primary_is_relieved_and_another_killed(cluster: ValkeyCluster, store_name: str) -> None:
    engine = ValkeyEngine.from_url(cluster.url)
    relieved, killed, _ = cluster.primaries
    tags = {node: cluster.tag_on(node, store_name) for node in (relieved, killed)}
    stores = {node: await used(engine, tag) for node, tag in tags.items()}
    counting = Counting(engine, [*(f"{{{tag}}}n" for tag in tags.values()), *(f"{store_name}{n}" for n in range(10))])
    asking = {node: Asking(*stores[node]) for node in tags}
    try:
        await counting.more(f"{{{tags[relieved]}}}n")
        tell(cluster.replica_of(relieved), "CLUSTER", "FAILOVER")
        await until(lambda: relieved not in cluster.primaries)
        await counting.more(f"{{{tags[relieved]}}}n")
        await asking[relieved].more()
        patient = ValkeyEngine.from_url(cluster.url)
        assert await patient.values.get(f"{{{tags[relieved]}}}none") is None  # knows the map, not the one to be killed
        await asyncio.to_thread(stop_writes, killed, cluster.replica_of(killed))
        killed.kill()
        # It has not run for certain, so that it is told again until there is another primary.
        waited = [patient.values.increment(f"{{{tags[killed]}}}once", "n", 1) for _ in range(2)]
        assert sorted(await asyncio.gather(*waited)) == [1, 2]
        await patient.close()
        await counting.more(f"{{{tags[killed]}}}n")
        await asking[killed].more()
        for node, (store, expected) in stores.items():
            expected.add(await store.remember("after it", thread_id="t"))
            assert {hit.item.id for hit in await store.recall(AHEAD, k=20, thread_id="t")} == expected, node.port
    finally:
        await counting.end()
        for task in asking.values():
            await task.end()
    await counting.check()
    for store, _ in stores.values():
        await store.close()
    await engine.close()


@pytest.fixture(params=["ours", "redis"])
async def watched(request: pytest.FixtureRequest) -> AsyncIterator[tuple[SentinelSet, ValkeyEngine]]:
    """Servers of the test alone, and an engine that sentinels lead to them."""
    with SentinelSet() as servers:
        if request.param == "ours":
            engine = ValkeyEngine.from_url(servers.url)
            yield servers, engine
            await engine.close()
            return
        sentinel = redis.asyncio.Sentinel([("127.0.0.1", server.port) for server in servers.sentinels])
        # redis-py may lose one from its list, when several ask at once.
        clients = list(sentinel.sentinels)
        yours = sentinel.master_for(MASTER)
        yield servers, ValkeyEngine(yours)
        await yours.aclose()
        for client in clients:
            await client.aclose()


async def test_writes_go_to_the_primary_that_sentinels_name(
    watched: tuple[SentinelSet, ValkeyEngine], store_name: str
) -> None:
    servers, engine = watched
    former = servers.primary
    store, expected = await used(engine, store_name)
    counting = Counting(engine, [f"{store_name}{n}" for n in range(6)])
    asking = Asking(store, expected)
    ear = Ear()
    watch = engine.watch([f"{store_name}:heard"], ear)
    try:
        assert await ear.hears()
        await counting.more(f"{store_name}0")
        await asyncio.to_thread(stop_writes, former, servers.replica)
        former.kill()
        await counting.more(f"{store_name}0")
        await asking.more()
        expected.add(await store.remember("after it", thread_id="t"))
        await asking.more()
        assert await ear.hears(5)  # listens to the other one now
    finally:
        await asking.end()
        await counting.end()
        await watch.close()
    assert servers.primary is not former
    await counting.check()
    await store.close()


async def test_what_a_former_primary_refuses_has_not_happened(sentinel_set: SentinelSet, store_name: str) -> None:
    engine = ValkeyEngine.from_url(sentinel_set.url)
    await engine.values.set(store_name, b"1")
    # As if it had been relieved a moment ago, and nobody had told its clients.
    await engine._client.ask("REPLICAOF", "127.0.0.1", str(sentinel_set.replica.port))
    batch = engine.values.batch()
    for number in range(3):
        batch.increment(f"{store_name}{number}", "n", 1)
    with pytest.raises(EngineUnavailableError, match="not done"):
        await batch.send()
    await engine._client.ask("REPLICAOF", "NO", "ONE")
    assert await engine.values.increment(f"{store_name}0", "n", 1) == 1
    await engine.close()


async def test_a_pool_at_its_limit_has_callers_wait(sentinel_set: SentinelSet, store_name: str) -> None:
    engine = ValkeyEngine.from_url(f"{sentinel_set.url}?max_connections=2")
    await asyncio.gather(*(engine.values.increment(store_name, "n", 1) for _ in range(50)))
    assert await engine.values.read_map(store_name) == {"n": b"50"}
    await engine.close()


async def test_sentinels_have_a_password_of_their_own(store_name: str) -> None:
    with SentinelSet(sentinel_password="s3cr3t") as servers:
        engine = ValkeyEngine.from_url(servers.url)
        await engine.values.set(store_name, b"1")
        await engine.close()
        refused = ValkeyEngine.from_url(servers.url.replace("s3cr3t", "SeCrEt"))
        with pytest.raises(AuthenticationFailedError, match="sentinel_password in a URL") as refusal:
            await refused.values.set(store_name, b"1")
        assert "SeCrEt" not in f"{refusal.value!r} {refusal.value.__cause__!r} {refused!r}"
        await refused.close()


async def test_sentinels_that_do_not_know_the_name_are_told(sentinel_set: SentinelSet) -> None:
    engine = ValkeyEngine.from_url(sentinel_set.url.replace(MASTER, "others"))
    with pytest.raises(EngineUnavailableError, match="'others' that is up: each knows no such name"):
        await engine.values.get("x")
    await engine.close()


@pytest.mark.parametrize("library", ["valkey", "redis"])
async def test_sentinels_that_are_away_are_named_and_nothing_else_is(library: str) -> None:
    """In our words: the libraries show clients and connections, each with most of its settings."""
    away = [("127.0.0.1", free_port()) for _ in range(2)]
    made = {"valkey": valkey.asyncio.Sentinel, "redis": redis.asyncio.Sentinel}[library]
    sentinel = made(away, username="somebody", sentinel_kwargs={"client_name": "worker-7"})
    clients = [*sentinel.sentinels, sentinel.master_for(MASTER)]
    with pytest.raises(EngineUnavailableError) as refusal:
        await ValkeyEngine(clients[-1]).values.set("x", b"1")
    named = ", ".join(f"127.0.0.1:{port} (ConnectionError)" for _, port in away)
    said = str(refusal.value)
    assert f"no sentinel names a primary '{MASTER}' that is up: no answer from {named}; " in said
    assert not [part for part in ("<", "somebody", "worker-7", "0x") if part in said]
    for client in clients:
        await client.aclose()
