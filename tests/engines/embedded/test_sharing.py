"""Several processes, several tasks, and processes that die."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from pathlib import Path

import apsw
import pytest

from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Filter, HasTag
from betterdb_agent_memory.errors import EngineError
from tests.engines.embedded.support import collection, encoded, python, record
from tests.engines.searching import nearest

WRITER = """
import asyncio, sys
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from tests.engines.embedded.support import collection, record

async def main(path, name, count):
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    for i in range(count):
        await records.write_many([record(f"{name}{i}", [1, i], tags=f"{name},{i}")])
        await engine.values.increment("counters", "writes", 1)
        print(f"{name}{i}", flush=True)
    await engine.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def assert_consistent(path: Path) -> None:
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    keys = [
        {key for (key,) in database.execute(f"SELECT key FROM {table}")} for table in ("record_1", "body_1", "vector_1")
    ]
    assert keys[0] == keys[1] == keys[2]
    assert {key for (key,) in database.execute("SELECT key FROM tag_1")} <= keys[0]
    assert not {key for (key,) in database.execute("SELECT key FROM free_1")} & keys[0]
    database.close()


async def test_two_processes_write_at_once(path: Path) -> None:
    writers = [python(WRITER, path, name, 1000) for name in "ab"]
    for writer in writers:
        output, errors = await asyncio.to_thread(writer.communicate, timeout=110)
        assert (writer.returncode, errors) == (0, "")
        assert len(output.splitlines()) == 1000
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    assert await records.count(Filter()) == 2000
    assert await records.count(Filter((HasTag("tags", "a"),))) == 1000
    assert await engine.values.read_map("counters") == {"writes": b"2000"}
    assert len(await nearest(records, encoded([1, 0]), count=5000, filter=Filter(), fields=[])) == 2000
    await engine.close()
    await assert_consistent(path)


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    acknowledged: list[str] = []
    for generation in "abc":
        writer = python(WRITER, path, generation, 1_000_000)
        assert writer.stdout is not None
        lines = [await asyncio.to_thread(writer.stdout.readline) for _ in range(150)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = await asyncio.to_thread(writer.communicate)
        acknowledged += [line.strip() for line in (*lines, *rest.splitlines(keepends=True)) if line.endswith("\n")]
        engine = EmbeddedEngine(path)
        records = engine.records(collection())
        assert len(acknowledged) >= 150
        assert None not in await records.read_many(acknowledged, ["content"])
        unacknowledged = await records.count(Filter()) - len(acknowledged)
        assert 0 <= unacknowledged <= "abc".index(generation) + 1
        await engine.close()
        await assert_consistent(path)


async def test_many_tasks_at_once(engine: EmbeddedEngine) -> None:
    records = engine.records(collection())
    assert sum(state.created for state in await asyncio.gather(*(records.prepare(2) for _ in range(20)))) == 1

    async def work(i: int) -> None:
        await records.write_many([record(f"{i}", [1, i], tags=f"{i % 7}")])
        assert (await records.read_many([f"{i}"], ["tags"])) == [{"tags": b"%d" % (i % 7)}]
        near = await nearest(records, encoded([1, i]), count=1, filter=Filter((HasTag("tags", f"{i % 7}"),)), fields=[])
        assert near[0].distance == pytest.approx(0.0, abs=1e-6)
        if i % 2:
            assert await records.delete_many([f"{i}"]) == [True]

    await asyncio.gather(*(work(i) for i in range(400)))
    assert await records.count(Filter()) == 200


async def test_one_bad_write_takes_no_other_with_it(engine: EmbeddedEngine) -> None:
    await engine.values.write_map("m", {"text": b"x"})
    outcomes = await asyncio.gather(
        *(engine.values.increment("m", "text" if i == 5 else "n", 1) for i in range(10)), return_exceptions=True
    )
    assert isinstance(outcomes[5], EngineError)
    assert await engine.values.read_map("m") == {"text": b"x", "n": b"9"}


async def test_a_cancelled_write_is_whole_or_absent(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    batches = [[record(f"{n}-{i}", [1, i], tags="a,b") for i in range(20)] for n in range(60)]
    tasks = [asyncio.ensure_future(records.write_many(batch)) for batch in batches]
    for n, task in enumerate(tasks):
        await asyncio.sleep(0.0005 * (n % 3))
        if n % 2:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    # Behind everything that was asked for before.
    await engine.values.set("k", b"")
    for n, outcome in enumerate(outcomes):
        stored = await records.read_many([f"{n}-{i}" for i in range(20)], ["tags"])
        assert stored == [{"tags": b"a,b"}] * 20 or (
            isinstance(outcome, asyncio.CancelledError) and stored == [None] * 20
        )
    assert any(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    await engine.close()
    await assert_consistent(path)


HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(100)
"""


async def test_another_process_that_holds_the_file_is_named_as_the_reason(path: Path) -> None:
    engine = EmbeddedEngine(path, busy_timeout_seconds=0.2)
    await engine.values.set("k", b"1")
    holder = python(HOLDER, path)
    assert holder.stdout is not None
    assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
    with pytest.raises(EngineError, match=r"locked by another process .* 0\.2 s") as raised:
        await engine.values.set("k", b"2")
    assert isinstance(raised.value.__cause__, apsw.BusyError)
    # Readers do not wait for a writer.
    assert await engine.values.get("k") == b"1"
    holder.kill()
    await asyncio.to_thread(holder.communicate)
    assert await engine.values.set("k", b"3")
    await engine.close()


async def test_a_search_sees_one_state_while_others_write(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record(f"{i}", [1, i], content="0") for i in range(50)])

    async def rewrite() -> None:
        for generation in range(1, 30):
            await records.write_many([record(f"{i}", [1, i], content=str(generation)) for i in range(50)])

    writing = asyncio.ensure_future(rewrite())
    while not writing.done():
        rows = await nearest(records, encoded([1, 0]), count=50, filter=Filter(), fields=["content"])
        assert [row.id for row in rows] == [f"{i}" for i in range(50)]
        assert len({row.fields["content"] for row in rows}) == 1
    await writing
    await engine.close()


FORKING = """
import asyncio, os, sys
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.errors import EngineError

engine = EmbeddedEngine(sys.argv[1])
asyncio.run(engine.values.increment("m", "n", 1))
child = os.fork()
if child == 0:
    try:
        asyncio.run(engine.values.increment("m", "n", 10))
        asyncio.run(engine.close())
    except EngineError as error:
        print(error, flush=True)
        os._exit(3)
    os._exit(0)
_, status = os.waitpid(child, 0)
asyncio.run(engine.values.increment("m", "n", 100))
print(asyncio.run(engine.values.read_map("m")), os.waitstatus_to_exitcode(status), flush=True)
asyncio.run(engine.close())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_opens_the_file_itself(path: Path) -> None:
    output, errors = python(FORKING, path).communicate(timeout=60)
    assert output == "{'n': b'111'} 0\n", errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_take_its_parents_memory_for_its_own() -> None:
    output, errors = python(FORKING, ":memory:").communicate(timeout=60)
    assert "forked" in output, errors
    assert output.endswith("{'n': b'101'} 3\n")
