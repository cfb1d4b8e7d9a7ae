"""What another process changes in the file is seen within about a second."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.embedded import EmbeddedEngine, watching

ROOT = Path(__file__).parents[3]

WRITER = """
import asyncio, sys
from betterdb_agent_memory.engines.embedded import EmbeddedEngine

async def main() -> None:
    engine = EmbeddedEngine(sys.argv[1])
    await engine.values.write_map(sys.argv[2], {"recall.threshold": sys.argv[3].encode()})
    await engine.close()

asyncio.run(main())
"""


class Ear:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.times = 0
        self.heard = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self.heard.set()

    async def hears(self, seconds: float = 2 * watching.LOOK_EVERY_SECONDS) -> bool:
        try:
            await asyncio.wait_for(self.heard.wait(), seconds)
        except TimeoutError:
            return False
        self.heard.clear()
        return True


async def test_what_another_process_writes_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "m.db"
    engine = EmbeddedEngine(file)
    ear, other = Ear(), Ear()
    engine.watch(["a:__mem_config"], ear)
    engine.watch(["b:__mem_config"], other)
    assert await ear.hears()
    assert await other.hears()
    await asyncio.sleep(0.1)
    times = other.times
    for value in ("0.5", "0.6"):
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", WRITER, str(file), "a:__mem_config", value], cwd=ROOT, check=True
        )
        assert await ear.hears()
    assert not await ear.hears()
    assert other.times == times
    await engine.close()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("place", ["file", ":memory:"])
async def test_every_kind_of_change_is_seen(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_SECONDS", 0.05)
    now = [1000.0]
    engine = EmbeddedEngine(tmp_path / "m.db" if place == "file" else place, clock=lambda: now[0])
    ear = Ear()
    watch = engine.watch(["k"], ear)
    assert await ear.hears()
    await engine.values.write_map("k", {"a": b"1", "b": b"2"})
    assert await ear.hears()
    await engine.values.remove_fields("k", ["a"])
    assert await ear.hears()
    await engine.values.delete("k")
    assert await ear.hears()
    await engine.values.set("k", b"text", ttl_seconds=10)
    assert await ear.hears()
    now[0] += 11
    assert await ear.hears()
    await engine.values.write_map("j", {"a": b"1"})
    assert not await ear.hears(0.3)
    await watch.close()
    assert len(asyncio.all_tasks()) == 1
    await engine.close()


def test_watches_of_a_loop_that_has_ended_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_SECONDS", 0.05)
    engine = EmbeddedEngine(tmp_path / "m.db")
    former: list[str] = []

    async def begin() -> None:
        engine.watch(["k"], lambda: former.append("told"))

    async def go_on() -> None:
        ear = Ear()
        engine.watch(["k"], ear)
        assert await ear.hears()
        await engine.close()

    asyncio.run(begin())
    asyncio.run(go_on())
    assert former == []


async def test_a_file_that_cannot_be_read_for_a_while_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_SECONDS", 0.05)
    folder = tmp_path / "later"
    folder.touch()  # a file where the folder should be
    engine = EmbeddedEngine(folder / "m.db")
    ear = Ear()
    engine.watch(["k"], ear)
    assert not await ear.hears(0.3)
    folder.unlink()
    assert await ear.hears()
    await engine.values.write_map("k", {"a": b"1"})
    assert await ear.hears()
    await engine.close()
