"""Real processes: killed on the way, and several at once. On a file and on a server."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import ConsolidateResult, Fact, MemoryItem, MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines import open_engine
from tests.embedding import embed

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")
NOTES = 1_200
"""More than a page of deletions."""


@pytest.fixture(params=["file", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "m.db") if request.param == "file" else str(request.getfixturevalue("valkey_server").url)


@pytest.fixture
async def store(url: str, store_name: str) -> AsyncIterator[MemoryStore]:
    engine = open_engine(url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed)
    yield store
    await store.close()
    await engine.close()


async def start(url: str, name: str, **task: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(WORKER), json.dumps({"url": url, "name": name, **task})),
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=subprocess.PIPE,
    )


async def killed(url: str, name: str, **task: Any) -> None:
    process = await start(url, name, **task)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -signal.SIGKILL, "it was to end in the middle"


async def contents(store: MemoryStore) -> list[str]:
    return [item.content async for item in store.iterate()]


async def summarize(memories: list[MemoryItem]) -> str:
    return f"digest of {len(memories)}"


@pytest.mark.parametrize(
    ("die_at", "die_after", "left_by_the_dead"),
    [("thinking", 0, NOTES), ("writing", 0, NOTES), ("deleting", 0, NOTES + 1), ("deleting", 1_000, NOTES + 1 - 1_000)],
)
async def test_a_summary_that_was_killed_on_the_way_is_finished_by_the_next_run(
    url: str, store: MemoryStore, die_at: str, die_after: int, left_by_the_dead: int
) -> None:
    await store.remember_many([f"note {number}" for number in range(NOTES)], thread_id="t")
    await store.remember("somebody else's", thread_id="u")
    await killed(url, store.name, die_at=die_at, die_after=die_after)
    assert (await store.list(MemoryListOptions(thread_id="t", limit=0))).total == left_by_the_dead

    result = await store.consolidate(summarize=summarize, thread_id="t")
    assert isinstance(result, ConsolidateResult)
    was_written = die_at == "deleting"
    assert result.consolidated == (0 if was_written else NOTES), "nothing is summarized twice"
    [summary] = [text for text in await contents(store) if text != "somebody else's"]
    assert summary.startswith(f"digest of {NOTES}")
    # And nothing is left to be repaired, by whomever.
    again = await store.consolidate(summarize=summarize, thread_id="t")
    assert again == ConsolidateResult(0, [], 0)
    assert len(await contents(store)) == 2


async def test_a_fact_whose_replacement_was_killed_on_the_way_is_there_once_after_the_next_run(
    url: str, store: MemoryStore
) -> None:
    async def nothing_new(_: list[MemoryItem]) -> list[Fact]:
        return []

    async def first(_: list[MemoryItem]) -> list[Fact]:
        return [Fact("city", "lives in Sofia", "2024"), Fact("pet", "has a cat")]

    await store.remember("note", thread_id="t")
    await store.consolidate(extract_facts=first, thread_id="t")
    moved = {"subject": "City", "statement": "lives in Bonn", "date": "May 2025"}
    await killed(url, store.name, die_at="deleting", facts=[moved])
    assert sorted(await contents(store)) == ["[2024] lives in Sofia", "[May 2025] lives in Bonn", "has a cat", "note"]
    result = await store.consolidate(extract_facts=nothing_new, thread_id="t")
    assert result.created == []
    assert sorted(await contents(store)) == ["[May 2025] lives in Bonn", "has a cat", "note"]


async def test_f20_processes_that_consolidate_the_same_memories_make_one_summary(
    url: str, store: MemoryStore, tmp_path: Path
) -> None:
    await store.remember_many([f"note {number}" for number in range(50)], thread_id="t")
    go = tmp_path / "go"
    processes = [await start(url, store.name, start=str(go), seconds=0.3) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
    go.touch()
    answers = [await asyncio.wait_for(process.communicate(), 60) for process in processes]
    results = [json.loads(output) for output, _ in answers]
    assert sorted(result["deleted"] for result in results) == [0, 0, 50]
    assert sorted(len(result["created"]) for result in results) == [0, 0, 1]
    [summary] = await contents(store)
    assert summary.startswith("digest of 50")


async def test_f44_more_than_ten_thousand_memories_and_facts_are_all_seen(store: MemoryStore) -> None:
    many = 10_050

    async def one_each(memories: list[MemoryItem]) -> list[Fact]:
        return [Fact(f"subject of {memory.content}", f"says {memory.content}") for memory in memories]

    await store.remember_many([f"note {number}" for number in range(many)], thread_id="t")
    first = await store.consolidate(extract_facts=one_each, thread_id="t")
    assert len(first.created) == many
    again = await store.consolidate(extract_facts=one_each, thread_id="t")
    assert (again.created, again.deleted) == ([], 0), "published the last fifty were not seen and came twice"

    sizes: list[int] = []

    async def summarize_and_count(memories: list[MemoryItem]) -> str:
        sizes.append(len(memories))
        return f"digest of {len(memories)}"

    result = await store.consolidate(summarize=summarize_and_count, thread_id="t")
    assert sizes == [10_000, many - 10_000, 2]
    assert result.deleted == many
    assert (await store.list(MemoryListOptions(thread_id="t", limit=0))).total == many + 1
