"""What a replica costs, and what is lost when the primary dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from time import perf_counter, sleep
from typing import Any

import numpy as np
import valkey
import valkey.asyncio

from benchmarks.growth import Embedded
from benchmarks.recall_latency import Meter
from benchmarks.scale.layouts import used_bytes
from benchmarks.synthetic import Corpus, Question, stored
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.errors import EngineError
from tests.servers import ValkeyServer

NAME = "replicated"
CALLS = 1_000
WRITERS = 32
ROUNDS = 10
_SECONDS = 1.0


def measure(corpus: Corpus) -> dict[str, Any]:
    """A primary with a replica on this machine: time of `remember`, with WAIT behind it, memory and CPU of both.

    Then, `ROUNDS` times, 32 writers whose primary is killed after a second: how many memories had been acknowledged,
    and how many of them the replica lacks.
    """
    questions = corpus.questions(CALLS * 2, range(10_000))
    with _primary() as primary, _replica_of(primary) as replica:
        figures = asyncio.run(_writing(primary, replica, questions))
    acknowledged = lost = 0
    for _ in range(ROUNDS):
        with _primary() as primary, _replica_of(primary) as replica:
            with replica.blocking_client() as client:
                _wait_for_link(client)
            ids = asyncio.run(_until_killed(primary, questions))
            acknowledged += len(ids)
            lost += _missing(replica, ids)
    return figures | {"rounds": ROUNDS, "acknowledged": acknowledged, "lost": lost}


def _replica_of(primary: ValkeyServer) -> ValkeyServer:
    return ValkeyServer(arguments=("--replicaof", "127.0.0.1", str(primary.port)))


def _primary() -> ValkeyServer:
    return ValkeyServer(arguments=("--repl-diskless-sync-delay", "0"))


async def _writing(primary: ValkeyServer, replica: ValkeyServer, questions: Sequence[Question]) -> dict[str, float]:
    with primary.blocking_client() as of_primary, replica.blocking_client() as of_replica:
        _wait_for_link(of_replica)
        client = primary.client()
        store = _store(client, questions)
        await store.remember(questions[0].text)
        sides = {"primary": Meter(of_primary), "replica": Meter(of_replica)}
        before = {"primary": used_bytes(of_primary), "replica": used_bytes(of_replica)}
        plain, waited = [], []
        with sides["primary"].counting() as at_primary, sides["replica"].counting() as at_replica:
            for question in questions[1:CALLS]:
                began = perf_counter()
                await store.remember(question.text)
                plain.append(perf_counter() - began)
            of_primary.execute_command("WAIT", 1, 5_000)
        for question in questions[CALLS:]:
            began = perf_counter()
            await store.remember(question.text)
            reached: Any = await client.execute_command("WAIT", 1, 5_000)
            waited.append(perf_counter() - began)
            if reached != 1:
                raise RuntimeError("the replica did not answer within 5 s")
        after = {"primary": used_bytes(of_primary), "replica": used_bytes(of_replica)}
        await store.close()
        await client.aclose()
    written = len(plain) + len(waited)
    return {
        "remember_ms": float(np.median(plain)) * 1000,
        "remember_and_wait_ms": float(np.median(waited)) * 1000,
        **{f"{side}_bytes": (after[side] - before[side]) / written for side in sides},
        "primary_cpu_ms": at_primary["cpu"] * 1000 / len(plain),
        "replica_cpu_ms": at_replica["cpu"] * 1000 / len(plain),
    }


async def _until_killed(primary: ValkeyServer, questions: Sequence[Question]) -> list[str]:
    """Ids of what was acknowledged."""
    client = primary.client()
    store = _store(client, questions)
    await store.remember(questions[0].text)
    acknowledged: list[str] = []

    async def write(first: int) -> None:
        number = first
        while True:
            try:
                acknowledged.append(await store.remember(questions[number % len(questions)].text))
            except EngineError:
                return
            number += WRITERS

    writers = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    await asyncio.sleep(_SECONDS)
    os.kill(primary.pid, signal.SIGKILL)
    await asyncio.gather(*writers)
    await store.close()
    await client.aclose()
    return acknowledged


def _missing(replica: ValkeyServer, ids: Sequence[str]) -> int:
    """How many of these the replica has not, once it is the primary."""
    with replica.blocking_client() as client:
        client.replicaof("NO", "ONE")
        stored(client, NAME)
        pipeline = client.pipeline(transaction=False)
        for id in ids:
            pipeline.exists(f"{NAME}:mem:{id}")
        return len(ids) - sum(map(int, pipeline.execute()))


def _store(client: valkey.asyncio.Valkey, questions: Sequence[Question]) -> MemoryStore:
    embed = Embedded()
    embed.learn(questions)
    return MemoryStore(client=client, name=NAME, embed_fn=embed)


def _wait_for_link(client: valkey.Valkey) -> None:
    while True:
        found: Any = client.info("replication")
        if found["master_link_status"] == "up":
            return
        sleep(0.05)
