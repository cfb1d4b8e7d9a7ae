from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import apsw
import pytest

from betterdb_agent_memory.engines.base import IndexState
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.embedded.schema import check_version, migrate
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import ConfigurationError, EngineError
from tests.engines.embedded.support import collection, encoded, python, record
from tests.engines.searching import nearest


async def refused(path: Path, match: str) -> None:
    engine = EmbeddedEngine(path)
    with pytest.raises(EngineError, match=match) as raised:
        await engine.records(collection()).prepare(2)
    assert str(path) in str(raised.value)
    with pytest.raises(EngineError, match=match):
        await engine.values.set("k", b"")
    await engine.close()


async def test_nothing_is_opened_before_the_first_use(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "memory.db"
    engine = EmbeddedEngine(str(path))
    records = engine.records(collection())
    assert not path.parent.exists()
    assert await records.prepare(2) == IndexState(2, created=True)
    assert path.exists()
    await engine.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["memory.db"]


async def test_a_file_is_found_again_with_everything_in_it(path: Path) -> None:
    for generation in range(3):
        engine = EmbeddedEngine(path)
        records = engine.records(collection())
        assert await records.prepare(2) == IndexState(2, created=generation == 0)
        await records.write_many([record(f"{generation}", threadId="t")])
        await engine.values.increment("m", "n", 1)
        assert await records.count(Filter()) == generation + 1
        rows = await nearest(records, encoded([1, 0]), count=9, filter=Filter(), fields=["threadId"])
        assert [row.id for row in rows] == [f"{i}" for i in range(generation + 1)]
        assert await engine.values.read_map("m") == {"n": b"%d" % (generation + 1)}
        await engine.close()


async def test_memory_lives_as_long_as_its_engine() -> None:
    for _ in range(2):
        engine = EmbeddedEngine(":memory:")
        assert await engine.records(collection()).prepare(2) == IndexState(2, created=True)
        await engine.close()
    assert not Path(":memory:").exists()


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"shopping list\n" * 1000)
    await refused(path, "not a SQLite database")
    assert path.read_bytes().startswith(b"shopping list")


async def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    theirs = path.read_bytes()
    await refused(path, "another program")
    assert path.read_bytes() == theirs
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_that_another_process_makes_at_the_same_moment_is_ours(path: Path) -> None:
    slow, quick = apsw.Connection(str(path)), apsw.Connection(str(path))
    slow.execute("PRAGMA journal_mode = WAL")
    made: list[str] = []

    def make_it_between_two_questions(_: apsw.Cursor, statement: str, __: object) -> bool:
        if "sqlite_schema" in statement and not made:
            made.append(statement)
            migrate(quick, str(path))
        return True

    slow.exec_trace = make_it_between_two_questions
    migrate(slow, str(path))
    assert made
    assert check_version(slow, str(path)) == check_version(quick, str(path)) > 0
    slow.close()
    quick.close()


async def test_a_newer_file_is_refused(path: Path) -> None:
    engine = EmbeddedEngine(path)
    await engine.values.set("k", b"1")
    await engine.close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    await refused(path, "version 99.*upgrade")


async def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir()
    await refused(path, "cannot be opened")


async def test_a_damaged_file_is_an_engine_error_and_not_a_crash(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record(f"{i}", content="x" * 500) for i in range(2000)])
    await engine.close()
    content = bytearray(path.read_bytes())
    for position in range(8192, len(content), 8192):
        content[position : position + 400] = b"\xa5" * min(400, len(content) - position)
    path.write_bytes(content)
    engine = EmbeddedEngine(path)
    with pytest.raises(EngineError, match=r"damaged|SQLite"):
        await engine.records(collection()).prepare(2)
    await engine.close()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
async def test_a_file_without_write_permission_is_refused(path: Path) -> None:
    engine = EmbeddedEngine(path)
    await engine.values.set("k", b"1")
    await engine.close()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        await refused(path, "cannot be written|cannot be opened")
    finally:
        path.parent.chmod(0o755)


async def test_a_full_disk_is_an_engine_error_and_nothing_is_half_written(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record("1")])
    pages = await records._database.write(lambda c: c.pragma("page_count"))
    await records._database.write(lambda c: c.pragma("max_page_count", pages + 20))
    with pytest.raises(EngineError, match="disk is full"):
        await records.write_many([record(f"big{i}", content="x" * 100_000) for i in range(10)])
    assert await records.count(Filter()) == 1
    await records.write_many([record("2")])
    assert await records.count(Filter()) == 2
    await engine.close()


async def test_a_closed_engine_says_so(engine: EmbeddedEngine) -> None:
    await engine.close()
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await engine.values.get("k")


async def test_close_waits_for_writes_under_way(path: Path) -> None:
    engine = EmbeddedEngine(path)
    writes = [asyncio.ensure_future(engine.values.increment("m", "n", 1)) for _ in range(50)]
    await asyncio.sleep(0)
    await engine.close()
    await asyncio.gather(*writes)
    engine = EmbeddedEngine(path)
    assert await engine.values.read_map("m") == {"n": b"50"}
    await engine.close()


def test_an_engine_serves_one_event_loop_after_another(path: Path) -> None:
    engine = EmbeddedEngine(path)
    for expected in (1, 2, 3):
        assert asyncio.run(engine.values.increment("m", "n", 1)) == expected
    asyncio.run(engine.close())


def test_stores_are_used_from_one_event_loop_after_another(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())

    async def use(round: int) -> None:
        await records.prepare(2)
        await asyncio.gather(*(records.write_many([record(f"{round}-{i}", [1, i])]) for i in range(20)))
        assert await records.delete_many([f"{round}-0"]) == [True]
        assert len(await nearest(records, encoded([1, 0]), count=100, filter=Filter(), fields=[])) == 19 * (round + 1)
        assert await engine.values.increment("m", "n", 1) == round + 1

    for round in range(3):
        asyncio.run(use(round))
    asyncio.run(engine.close())


posix = pytest.mark.skipif(os.name != "posix", reason="no modes here, and an open file cannot be moved")


def modes(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}


@posix
async def test_a_new_file_is_its_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        engine = EmbeddedEngine(path)
        await engine.values.set("k", b"1")
        assert await engine.values.get("k") == b"1"
    finally:
        os.umask(before)
    assert modes(path) == {"memory.db": 0o600, "memory.db-wal": 0o600, "memory.db-shm": 0o600}
    await engine.close()
    assert modes(path) == {"memory.db": 0o600}


@posix
async def test_a_new_file_behind_a_link_is_its_owners_alone(path: Path) -> None:
    target = path.with_name("target.db")
    path.symlink_to(target)
    engine = EmbeddedEngine(path)
    await engine.values.set("k", b"1")
    await engine.close()
    assert target.stat().st_mode & 0o777 == 0o600


@posix
async def test_an_existing_file_keeps_its_mode(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    engine = EmbeddedEngine(path)
    await engine.values.set("k", b"1")
    assert modes(path) == {"memory.db": 0o640, "memory.db-wal": 0o640, "memory.db-shm": 0o640}
    await engine.close()


async def assert_writes_are_refused(engine: EmbeddedEngine, path: Path, match: str) -> None:
    records = engine.records(collection())
    for write in (
        lambda: records.write_many([record("2")]),
        lambda: records.delete_many(["1"]),
        lambda: engine.values.set("k", b"2"),
        lambda: engine.values.increment("m", "n", 1),
    ):
        with pytest.raises(EngineError, match=match) as raised:
            await write()
        assert str(path) in str(raised.value)
        assert "not stored" in str(raised.value)
        assert "open a new one" in str(raised.value)


async def written(path: Path) -> EmbeddedEngine:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record("1")])
    return engine


@posix
async def test_writes_to_a_file_that_was_deleted_are_refused(path: Path) -> None:
    engine = await written(path)
    path.unlink()
    await assert_writes_are_refused(engine, path, "was deleted or moved away while it was open")
    await engine.close()
    assert not path.exists()
    # What the message tells to do.
    engine = await written(path)
    assert await engine.records(collection()).read_many(["1", "2"], ["content"]) == [{"content": b"text"}, None]
    await engine.close()


@posix
async def test_writes_to_a_file_that_was_replaced_are_refused_and_its_successor_is_left_alone(path: Path) -> None:
    successor = path.with_name("successor.db")
    await (await written(successor)).close()
    content = successor.read_bytes()
    engine = await written(path)
    successor.replace(path)
    await assert_writes_are_refused(engine, path, "was replaced by another file while it was open")
    await engine.close()
    assert path.read_bytes() == content


@posix
async def test_no_connection_is_opened_to_the_successor_of_the_file(path: Path) -> None:
    engine = EmbeddedEngine(path)
    await engine.values.set("k", b"1")
    path.unlink()
    # The first read opens a connection of its own.
    with pytest.raises(EngineError, match="deleted or moved away"):
        await engine.values.get("k")
    assert not path.exists()
    await engine.close()


@posix
async def test_a_write_during_which_the_file_goes_is_not_acknowledged(path: Path) -> None:
    engine = await written(path)
    with pytest.raises(EngineError, match="deleted or moved away"):
        await engine._database.write(lambda connection: path.unlink())
    await engine.close()


@posix
async def test_a_file_that_was_put_back_is_written_again(path: Path) -> None:
    engine = await written(path)
    away = path.rename(path.with_name("away.db"))
    await assert_writes_are_refused(engine, path, "moved away")
    away.rename(path)
    await engine.records(collection()).write_many([record("2")])
    await engine.close()
    engine = EmbeddedEngine(path)
    assert await engine.records(collection()).count(Filter()) == 2
    await engine.close()


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        EmbeddedEngine("")


@pytest.mark.parametrize("package", ["apsw", "sqlite_vec"])
def test_a_missing_package_names_the_extra(package: str) -> None:
    process = python(
        """
        import sys
        sys.modules[sys.argv[1]] = None
        from betterdb_agent_memory.errors import ConfigurationError
        try:
            import betterdb_agent_memory.engines.embedded
        except ConfigurationError as error:
            print(error)
        """,
        package,
    )
    output, errors = process.communicate(timeout=60)
    assert package in output, errors
    assert 'pip install "betterdb-agent-memory[local]"' in output
