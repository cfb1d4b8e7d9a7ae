"""The embedded engine and a server give the same answers to the same questions."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import MemoryHit, MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.embedding import embed
from tests.servers import ValkeyServer

MEMORIES = 600
THREADS = ["alice", "Alice", " alice", "alice,bob", "", "bob"]
TAGS = ["ui", "UI", "work", "home", "a b"]


class StandingClock:
    now_ms = 1_750_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
async def pair(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path
) -> AsyncIterator[tuple[MemoryStore, MemoryStore]]:
    """The same 600 memories in a file and on a server; EF is above their number, so both are exact."""
    random_source = random.Random(7)
    clock = StandingClock()
    client = valkey_server.client()
    engines = EmbeddedEngine(tmp_path / "m.db"), ValkeyEngine(client, minimum_ef=MEMORIES * 2)
    stores = []
    for engine in engines:
        ids = iter(f"{number:05}" for number in range(MEMORIES))
        stores.append(
            MemoryStore(
                client=engine, name=store_name, embed_fn=embed, default_threshold=2.0, clock=clock, new_id=ids.__next__
            )
        )
    for number in range(MEMORIES):
        clock.now_ms += random_source.choice([0, 1, 86_400_000])
        text = f"memory {number}"
        options: dict[str, Any] = {
            "importance": random_source.choice([0, 0.5, 1, random_source.random()]),
            "tags": random_source.sample(TAGS, random_source.randrange(3)),
            "thread_id": random_source.choice(THREADS) if number % 5 else None,
            "namespace": random_source.choice(["n", "m", None]),
        }
        for store in stores:
            await store.remember(text, **options)
    yield stores[0], stores[1]
    await engines[0].close()
    await client.aclose()


def same(mine: list[MemoryHit], theirs: list[MemoryHit]) -> None:
    """RediSearch returns number fields with 12 significant digits; everything else is equal to the byte."""
    assert [replace(hit.item, importance=0) for hit in mine] == [replace(hit.item, importance=0) for hit in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one.item.importance == pytest.approx(other.item.importance, abs=1e-9)
        assert one.distance == pytest.approx(other.distance, abs=1e-5)
        assert one.score == pytest.approx(other.score, abs=1e-5)


async def test_the_same_questions_have_the_same_answers(pair: tuple[MemoryStore, MemoryStore]) -> None:
    embedded, served = pair
    scopes: list[dict[str, Any]] = [
        {},
        *({"thread_id": thread} for thread in THREADS),
        {"namespace": "n", "thread_id": "alice"},
        {"tags": ["ui"]},
        {"tags": ["UI", "work"], "namespace": "m"},
        {"thread_id": "nobody"},
    ]
    for question in range(12):
        for scope in scopes:
            for options in ({}, {"k": 30}, {"k": 200}, {"threshold": 0.6}):
                arguments = scope | options | {"reinforce": False}
                same(
                    await embedded.recall(f"question {question}", **arguments),
                    await served.recall(f"question {question}", **arguments),
                )
    for scope in scopes:
        page = MemoryListOptions(**scope, limit=50, offset=7)
        mine, theirs = await embedded.list(page), await served.list(page)
        assert mine.total == theirs.total
        assert sorted(item.created_at for item in mine.items) == sorted(item.created_at for item in theirs.items)


async def test_the_same_changes_have_the_same_effect(pair: tuple[MemoryStore, MemoryStore]) -> None:
    embedded, served = pair
    for store in pair:
        await store.recall("question", thread_id="alice", k=20)
        assert await store.forget("00003") is True
    assert await embedded.forget_by_scope(thread_id="Alice") == await served.forget_by_scope(thread_id="Alice") > 0
    assert (await embedded.stats()).item_count == (await served.stats()).item_count
    same(await embedded.recall("question", k=50), await served.recall("question", k=50))


async def test_ties_are_broken_alike(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """Equal texts have equal distances; below 64 memories no tie is cut off with the candidates."""
    for store in pair:
        for number in range(40):
            id = f"tie-{number * 7 % 40:02}"
            await store.remember(f"tie {number % 3}", namespace="ties", importance=0.5, id=id)
    embedded, served = pair
    for question in range(5):
        arguments: dict[str, Any] = {"namespace": "ties", "k": 40, "reinforce": False}
        mine = await embedded.recall(f"question {question}", **arguments)
        assert len(mine) == 40
        same(mine, await served.recall(f"question {question}", **arguments))
