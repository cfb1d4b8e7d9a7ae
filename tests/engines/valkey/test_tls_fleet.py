"""A cluster and a set of sentinels behind TLS: every connection of ours is encrypted, whoever named its address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from betterdb_agent_memory import AgentMemory, CacheOptions, MemoryOptions
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineUnavailableError, OutcomeUnknownError
from tests.clusters import SentinelSet, ValkeyCluster, tell
from tests.embedding import AHEAD, at_angle, embed
from tests.tls import Certificates, MixedTerminator


@pytest.fixture(scope="module")
def cluster(certificates: Certificates) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(replicas=False, certificates=certificates) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sentinels(certificates: Certificates) -> Iterator[SentinelSet]:
    with SentinelSet(certificates=certificates) as servers:
        yield servers


@pytest.fixture(params=["cluster", "sentinels"])
async def agent(request: pytest.FixtureRequest, store_name: str) -> AsyncIterator[AgentMemory]:
    servers = request.getfixturevalue(request.param)
    agent = AgentMemory.open(
        servers.url,
        name=f"{{{store_name}}}",
        embedder=embed,
        memory=MemoryOptions(threshold=2.0, reinforcement="immediate"),
        caches=CacheOptions(config_refresh=False),
    )
    async with agent:
        yield agent


def plain_connections(terminators: list[MixedTerminator]) -> int:
    return sum(terminator.plain for terminator in terminators)


async def test_memories_and_caches_work(agent: AgentMemory) -> None:
    await agent.memory.remember_many([at_angle(1 - n / 10, str(n)) for n in range(5)], thread_id="t")
    hits = await agent.memory.recall(AHEAD, k=3, thread_id="t")
    assert [hit.item.content for hit in hits] == [at_angle(1 - n / 10, str(n)) for n in range(3)]
    assert await agent.memory.forget(hits[0].item.id)
    assert len([item async for item in agent.memory.iterate()]) == 4
    await agent.session.set_many("t", {f"f{n}": str(n) for n in range(20)})
    assert len(await agent.session.get_all("t", scan=True)) == 20


async def test_a_cluster_is_spoken_to_over_tls_on_every_node(cluster: ValkeyCluster, store_name: str) -> None:
    """What nodes tell of each other (CLUSTER SLOTS, MOVED) are ports behind which TLS is spoken."""
    engine = ValkeyEngine.from_url(cluster.url)
    before = [terminator.encrypted for terminator in cluster.terminators]
    keys = [f"{store_name}:{n}" for n in range(60)]
    batch = engine.values.batch()
    for key in keys:
        batch.set(key, key.encode())
    await batch.send()
    assert [await engine.values.get(key) for key in keys] == [key.encode() for key in keys]
    assert [terminator.encrypted > n for terminator, n in zip(cluster.terminators, before, strict=True)] == [True] * 3
    assert plain_connections(cluster.terminators) == 0
    assert [sorted(tell(node, "KEYS", f"{store_name}:*")) != [] for node in cluster.nodes] == [True] * 3
    await engine.close()


async def test_tenants_are_spread_over_the_nodes(cluster: ValkeyCluster, store_name: str) -> None:
    agent = AgentMemory.open(
        cluster.url, name=f"{{{store_name}}}", embedder=embed, memory=MemoryOptions(threshold=2.0, discovery=False)
    )
    async with agent:
        for n in range(8):
            await agent.tenant(f"customer{n}").memory.remember(f"of {n}")
        for n in range(8):
            assert [hit.item.content for hit in await agent.tenant(f"customer{n}").memory.recall("of")] == [f"of {n}"]
    assert plain_connections(cluster.terminators) == 0


@pytest.mark.parametrize("kind", ["cluster", "sentinels"])
async def test_who_shows_no_certificate_is_told_so(
    request: pytest.FixtureRequest, certificates: Certificates, kind: str
) -> None:
    servers = request.getfixturevalue(kind)
    bare = servers.url.replace(certificates.settings, certificates.query(certificates.authority))
    engine = ValkeyEngine.from_url(bare)
    with pytest.raises(EngineUnavailableError, match="certificate"):
        await engine.values.set("x", b"1")
    await engine.close()


async def test_writes_go_on_over_tls_when_the_primary_has_died(sentinels: SentinelSet, store_name: str) -> None:
    """The last one here: it leaves the sentinels with one server."""
    engine = ValkeyEngine.from_url(sentinels.url)
    died, heir = sentinels.primary, sentinels.replica
    at_heir = sentinels.terminators[[terminator.server_port for terminator in sentinels.terminators].index(heir.port)]
    await engine.values.set(store_name, b"before")
    assert at_heir.encrypted == 0
    died.kill()
    async with asyncio.timeout(30):
        while True:
            try:
                await engine.values.set(f"{store_name}:2", b"after")
                break
            except (EngineUnavailableError, OutcomeUnknownError):
                await asyncio.sleep(0.05)
    assert tell(heir, "GET", f"{store_name}:2") == b"after"
    # Only sentinels and servers speak plainly here.
    assert at_heir.encrypted >= 1
    await engine.close()
