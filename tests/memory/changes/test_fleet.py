"""Four writers and a group of three consumers, each a process; one of the consumers is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from tests.embedding import embed
from tests.stopping import stop_between_writes
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")
WRITES = 40


@pytest.fixture(params=["file", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "m.db") if request.param == "file" else str(request.getfixturevalue("valkey_server").url)


async def start(url: str, name: str, role: str, **task: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(WORKER), json.dumps({"url": url, "name": name, "role": role, **task})),
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=subprocess.PIPE,
    )


def lines(seen: Path) -> list[tuple[int, str, str]]:
    """Number of the change, memory and process, in the order in which they were seen."""
    rows = [line.split(" ") for line in seen.read_text().splitlines()]
    return [(int(id.partition("-")[2]), memory, process) for id, memory, process in rows]


async def told(store: MemoryStore, last: int) -> dict[str, list[int]]:
    """The numbers of all changes of each memory."""
    numbers: dict[str, list[int]] = defaultdict(list)
    async with aclosing(store.changes(since="oldest")) as changes:  # type: ignore[type-var]
        async for change in changes:
            number = int(change.id.partition("-")[2])
            numbers[change.memory_id].append(number)
            if number == last:
                break
    return numbers


def check_order(rows: list[tuple[int, str, str]], changes: dict[str, list[int]]) -> None:
    """Nobody was shown a change of a memory before all earlier ones of that memory had been shown."""
    shown: dict[str, list[int]] = defaultdict(list)
    for number, memory, _ in rows:
        known = shown[memory]
        if number not in known:
            assert number == changes[memory][len(known)], f"{memory}: {number} came after {known}"
            known.append(number)


async def test_every_change_is_seen_in_order_though_a_consumer_is_killed(
    url: str, store_name: str, tmp_path: Path
) -> None:
    engine = open_engine(url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, change_feed=True)
    await store.ensure_index()
    seen = tmp_path / "seen"
    seen.touch()
    processes: list[asyncio.subprocess.Process] = []

    async def begin(role: str, **task: Any) -> asyncio.subprocess.Process:
        process = await start(url, store_name, role, **task)
        processes.append(process)
        return process

    try:
        victim = await begin("consumer", seen=str(seen), die_after=15)
        # It takes part before there is much to do: on a busy machine the others would have done all of it.
        await store.remember("the first", id="first")
        await until(lambda: bool(lines(seen)), seconds=30)
        for consumer in [await begin("consumer", seen=str(seen)) for _ in range(2)]:
            assert consumer.stdout is not None
            assert await asyncio.wait_for(consumer.stdout.readline(), 60) == b"ready\n"
        writers = [await begin("writer", seed=seed, count=WRITES) for seed in range(4)]
        assert await asyncio.wait_for(victim.wait(), 60) == -signal.SIGKILL
        for writer in writers:
            assert await asyncio.wait_for(writer.wait(), 60) == 0
        status = await store.change_feed()
        assert status is not None
        assert status.told >= 4 * WRITES
        changes = await told(store, status.told)
        everything = {number for numbers in changes.values() for number in numbers}
        assert everything == set(range(1, status.told + 1))
        await until(lambda: {number for number, _, _ in lines(seen)} == everything, seconds=30)
        rows = lines(seen)
        check_order(rows, changes)
        # All three were at work, and what the killed one had not told came once more.
        assert len({process for _, _, process in rows}) == 3
        repeated = [row for place, row in enumerate(rows) if row[0] in {earlier[0] for earlier in rows[:place]}]
        assert {int(process) for _, _, process in rows if int(process) == victim.pid}
        assert len(repeated) < 3 * 100
        # One that is stopped for longer than its share is held for, and goes on, does no harm.
        stopped = next(process for process in processes if process.returncode is None)
        await stop_between_writes(stopped.pid, url)
        more = [await store.remember(f"more {n}", id=f"s{n}") for n in range(30)]
        last = status.told + len(more)
        await until(lambda: last in {number for number, _, _ in lines(seen)}, seconds=30)
        stopped.send_signal(signal.SIGCONT)
        await store.forget_many(more)
        last += len(more)
        await until(lambda: {number for number, _, _ in lines(seen)} == set(range(1, last + 1)), seconds=30)
        check_order(lines(seen), changes := await told(store, last))
        rows = lines(seen)
        # After a restart of all of them the group goes on where it was.
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        fresh = await store.remember("after the restart")
        await begin("consumer", seen=str(seen))
        await until(lambda: last + 1 in {number for number, _, _ in lines(seen)}, seconds=30)
        again = lines(seen)[len(rows) :]
        assert again[-1][:2] == (last + 1, fresh)
        assert min(number for number, _, _ in again) > 1, "it began anew"
        check_order(lines(seen), {**changes, fresh: [last + 1]})
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await store.close()
        await engine.close()
