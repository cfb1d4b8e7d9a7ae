"""A thousand tenants through one AgentMemory: what one of them feels of the others, and of its own promotion.

    python -m benchmarks.tenants                         a server of its own
    python -m benchmarks.tenants --cluster               a cluster of its own
    python -m benchmarks.tenants --url valkey://host     yours; keys begin with %7Bbench_tenants, in braces
    python -m benchmarks.tenants --tenants 200 --large 5000

Fills `--tenants` tenants with `--memories` each, in indexes of their own and in pools, and measures recalls of one of
them: before and after another one has grown to `--large` memories. Then promotes a tenant of a pool while two tasks
recall and write as fast as they can, and counts errors and incomplete answers. Vectors are random: what is measured
is where memories are kept, not a model.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory import AgentMemory, CacheOptions, FunctionEmbedder, MemoryOptions, TenantsOptions
from tests.clusters import ValkeyCluster
from tests.servers import ValkeyServer

DIMENSIONS = 384
SMALL, LARGE = "small", "large"
PLACEMENT_SECONDS = 1.0


async def random_vector(text: str) -> list[float]:
    """A direction of its own for each text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    vector: list[float] = np.random.default_rng(seed).standard_normal(DIMENSIONS).tolist()
    return vector


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of the middle call and of the slowest in a hundred."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
        return cls(float(p50), float(p99))

    def __str__(self) -> str:
        return f"{self.p50:.2f} ms (p99 {self.p99:.2f})"


def opened(url: str, name: str, options: TenantsOptions) -> AgentMemory:
    return AgentMemory.open(
        url,
        name=name,
        embedder=FunctionEmbedder(random_vector, name="random", dimensions=DIMENSIONS),
        memory=MemoryOptions(threshold=2.0, retrieval="vector", discovery=False, config_refresh=False),
        caches=CacheOptions(discovery=False, embeddings=False),
        tenants=options,
    )


async def fill(agent: AgentMemory, tenant: str, count: int) -> None:
    results = await agent.tenant(tenant).memory.remember_many([f"{tenant} {number}" for number in range(count)])
    assert all(result.error is None for result in results), next(r.error for r in results if r.error)


async def recalls(agent: AgentMemory, tenant: str, times: int) -> Latency:
    seconds = []
    memory = agent.tenant(tenant).memory
    for number in range(times + 20):
        began = time.perf_counter()
        hits = await memory.recall(f"question {number}", k=8, reinforce=False)
        seconds.append(time.perf_counter() - began)
        assert all(hit.item.content.startswith(f"{tenant} ") for hit in hits)
    return Latency.of(seconds[20:])


async def neighbours(url: str, place: str, arguments: argparse.Namespace) -> None:
    options = TenantsOptions(place=place, pools=arguments.pools, kept=arguments.tenants + 10)  # type: ignore[arg-type]
    name = f"{{bench_tenants_{place}}}"  # a cluster needs to know where the agent's own memories are
    async with opened(url, name, options) as agent:
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        names = [f"t{number}" for number in range(arguments.tenants)]
        gate = asyncio.Semaphore(16)

        async def one(tenant: str) -> None:
            async with gate:
                await fill(agent, tenant, arguments.memories)

        await asyncio.gather(*[one(tenant) for tenant in names])
        seconds = time.perf_counter() - began
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        print(
            f"\n{place}: {arguments.tenants:,} tenants of {arguments.memories} memories made in {seconds:.1f} s "
            f"({1000 * seconds / arguments.tenants:.1f} ms each), {grown_kb / arguments.tenants:.1f} kB of this "
            f"process each, {len(asyncio.all_tasks())} tasks"
        )
        await fill(agent, SMALL, 100)
        # Where the large one is in the small one's pool: in the others it changes nothing.
        large = next(
            name
            for name in (f"{LARGE}{number}" for number in range(1_000))
            if _pool(name, arguments.pools) == _pool(SMALL, arguments.pools)
        )
        print(f"  recall of a tenant of 100 memories:            {await recalls(agent, SMALL, arguments.recalls)}")
        await fill(agent, large, arguments.large)
        # Until a worker looks again at how large an index is, it compares every vector.
        await asyncio.sleep(arguments.settle)
        await recalls(agent, large, 1)
        beside = await recalls(agent, SMALL, arguments.recalls)
        print(f"  the same beside one of {arguments.large:,} memories:          {beside}")
        its_own = await recalls(agent, large, arguments.recalls)
        print(f"  recall of the one of {arguments.large:,} memories:            {its_own}")
        if place == "pool":
            await promote(url, name, large, arguments)
            await asyncio.sleep(arguments.settle)
            await recalls(agent, large, 1)
            after = await recalls(agent, SMALL, arguments.recalls)
            print(f"  recall of the tenant of 100, the large one gone: {after}")
            print(f"  recall of the large one in its own index:      {await recalls(agent, large, arguments.recalls)}")


def _pool(tenant: str, pools: int) -> int:
    return int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:8]) % pools


async def promote(url: str, name: str, tenant: str, arguments: argparse.Namespace) -> None:
    options = TenantsOptions(place="pool", pools=arguments.pools, placement_seconds=PLACEMENT_SECONDS)
    async with opened(url, name, options) as worker, opened(url, name, options) as operator:
        memory = worker.tenant(tenant).memory
        is_over = asyncio.Event()
        errors: list[Exception] = []
        seconds: list[float] = []
        written: list[str] = []
        incomplete = 0

        async def recall() -> None:
            nonlocal incomplete
            number = 0
            while not is_over.is_set():
                number += 1
                wanted = f"{tenant} {number % arguments.large}"
                began = time.perf_counter()
                try:
                    hits = await memory.recall(wanted, k=8, reinforce=False)
                    incomplete += not hits or hits[0].item.content != wanted
                except Exception as error:  # noqa: BLE001 - counted
                    errors.append(error)
                seconds.append(time.perf_counter() - began)

        async def write() -> None:
            while not is_over.is_set():
                try:
                    text = f"{tenant} new {len(written)}"
                    await memory.remember(text)
                    written.append(text)
                except Exception as error:  # noqa: BLE001 - counted
                    errors.append(error)
                await asyncio.sleep(0.005)

        tasks = [asyncio.create_task(recall()), asyncio.create_task(write())]
        await asyncio.sleep(1)
        began = time.perf_counter()
        status = await operator.tenants.promote(tenant)
        took = time.perf_counter() - began
        await asyncio.sleep(1)
        is_over.set()
        await asyncio.gather(*tasks)
        found = (await operator.tenants.status(tenant)).memories
        print(
            f"  promotion of {arguments.large:,} memories: {took:.1f} s, then {status.phase}; meanwhile "
            f"{len(seconds):,} recalls, {Latency.of(seconds)}, {incomplete} incomplete, {len(written):,} writes, "
            f"{len(errors)} errors; "
            f"{found:,} memories of {arguments.large + len(written):,}"
        )
        for error in errors[:3]:
            print(f"    {error!r}")


async def measured(url: str, arguments: argparse.Namespace) -> None:
    for place in ("own", "pool"):
        await neighbours(url, place, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a server; by default one is started")
    parser.add_argument("--cluster", action="store_true", help="start a cluster of three primaries with replicas")
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--memories", type=int, default=10, help="memories of each tenant")
    parser.add_argument("--large", type=int, default=20_000, help="memories of the large tenant")
    parser.add_argument("--pools", type=int, default=8)
    parser.add_argument("--settle", type=float, default=11.0, help="seconds of rest after a tenant has grown")
    parser.add_argument("--recalls", type=int, default=300)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        asyncio.run(measured(arguments.url or _started(stack, arguments.cluster), arguments))


def _started(stack: ExitStack, cluster: bool) -> str:
    """The URL of a server or a cluster that ends with the stack."""
    return stack.enter_context(ValkeyCluster()).url if cluster else stack.enter_context(ValkeyServer()).url


if __name__ == "__main__":
    main()
