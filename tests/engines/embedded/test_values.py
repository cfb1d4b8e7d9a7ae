from __future__ import annotations

import asyncio

import pytest

from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.errors import EngineError, InvalidInputError


async def test_strings(engine: EmbeddedEngine) -> None:
    values = engine.values
    key = "k\0é\n"
    assert await values.get(key) is None
    assert await values.set(key, b"\0\xff")
    assert await values.get(key) == b"\0\xff"
    assert await values.set(key, b"")
    assert await values.get(key) == b""
    assert await values.get("k") is None
    assert await values.delete(key)
    assert not await values.delete(key)
    with pytest.raises(InvalidInputError, match="ttl_seconds"):
        await values.set(key, b"", ttl_seconds=0)


async def test_maps(engine: EmbeddedEngine) -> None:
    values = engine.values
    assert await values.read_map("m") == {}
    await values.write_map("m", {"a": b"1", "b\0": b"\xff"})
    await values.write_map("m", {"a": b"2"})
    await values.write_map("other", {"a": b"3"})
    assert await values.read_map("m") == {"a": b"2", "b\0": b"\xff"}
    assert await values.delete("m")
    assert await values.read_map("m") == {}
    assert await values.read_map("other") == {"a": b"3"}


async def test_fields_of_a_map_are_removed(engine: EmbeddedEngine) -> None:
    values = engine.values
    await values.write_map("m", {"a": b"1", "b": b"2", "c": b"3"})
    await values.write_map("other", {"a": b"4"})
    assert await values.remove_fields("m", ["a", "absent", "a", "c"]) == 2
    assert await values.read_map("m") == {"b": b"2"}
    assert await values.remove_fields("m", ["b"]) == 1
    assert await values.remove_fields("m", ["b"]) == 0
    assert not await values.delete("m")
    assert await values.read_map("other") == {"a": b"4"}
    await values.set("k", b"1")
    with pytest.raises(EngineError, match="holds a string"):
        await values.remove_fields("k", ["a"])


async def test_counters(engine: EmbeddedEngine) -> None:
    values = engine.values
    assert await values.increment("m", "n", 5) == 5
    assert await values.increment("m", "n", -7) == -2
    assert await values.read_map("m") == {"n": b"-2"}
    await values.write_map("m", {"text": b"x"})
    with pytest.raises(EngineError, match="not an integer"):
        await values.increment("m", "text", 1)
    assert sorted(await asyncio.gather(*(values.increment("c", "n", 1) for _ in range(300)))) == list(range(1, 301))


async def test_a_key_holds_a_string_or_a_map(engine: EmbeddedEngine) -> None:
    values = engine.values
    await values.set("k", b"1")
    for call in (values.write_map("k", {"a": b"1"}), values.increment("k", "a", 1)):
        with pytest.raises(EngineError, match="holds a string"):
            await call
    assert await values.get("k") == b"1"
    await values.write_map("m", {"a": b"1"})
    assert not await values.set("m", b"1", only_if_absent=True)
    assert await values.set("m", b"1")
    assert await values.get("m") == b"1"
    with pytest.raises(EngineError, match="holds a string"):
        await values.read_map("m")
    await values.delete("m")
    assert await values.read_map("m") == {}


async def test_there_are_no_round_trips(engine: EmbeddedEngine) -> None:
    await engine.values.set("k", b"1")
    assert engine.round_trips == 0
