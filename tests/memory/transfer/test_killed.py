"""Killed in the middle of an export or import, the same call goes on and nothing is missing or there twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from betterdb_agent_memory import ConfigurationError, MemoryStore
from betterdb_agent_memory.memory.record import memory_collection
from tests.memory.transfer.conftest import MakeStore, assert_same, everything
from tests.memory.transfer.test_round_trip import fill
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parents[3]
COUNT = 2000


def start(url: str, name: str, action: str, path: Path, pages: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.memory.transfer.worker", url, name, action, str(path), str(pages)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    )


def kill_after(url: str, name: str, action: str, path: Path, *, pages: int) -> int:
    """Let a process do so many pages and kill it; how many memories it had told of."""
    with start(url, name, action, path, pages) as worker:
        assert worker.stdout is not None
        done = int(worker.stdout.readline())
        worker.kill()
    return done


def url_of(kind: str, name: str, folder: Path, server: ValkeyServer) -> str:
    return str(folder / f"{name}.db") if kind == "file" else server.url


def count_writes(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the store writes from now on."""
    sizes: list[int] = []
    records = type(store._engine.records(memory_collection(store.name)))
    original = records.write_many

    async def counted(self, writes, **how):
        sizes.append(len(writes))
        return await original(self, writes, **how)

    monkeypatch.setattr(records, "write_many", counted)
    return sizes


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
async def test_an_export_goes_on_behind_the_last_whole_line(
    make_store: MakeStore, kind: str, tmp_path: Path, valkey_server: ValkeyServer, suffix: str
) -> None:
    source = make_store(kind)
    await fill(source, COUNT)
    url = url_of(kind, source.name, tmp_path, valkey_server)
    path = tmp_path / f"a.{suffix}"
    part = tmp_path / f"a.{suffix}.part"
    done = kill_after(url, source.name, "export", path, pages=2)
    assert not path.exists()
    part.write_bytes(part.read_bytes() + part.read_bytes()[:70])  # as if it had been killed while it wrote
    further = kill_after(url, source.name, "export", path, pages=1)
    assert further > done
    result = await source.export_to(path)
    assert result.exported == COUNT
    assert result.resumed == further
    target = make_store(kind)
    imported = await target.import_from(path)
    assert (imported.read, imported.imported) == (COUNT, COUNT)
    assert_same(await everything(target), await everything(source))


def _kill_soon(worker: subprocess.Popen[str], part: Path, pause_seconds: float) -> None:
    """Kill it some time after it has begun to write."""
    while not part.exists() and worker.poll() is None:
        time.sleep(0.001)
    time.sleep(pause_seconds)
    worker.kill()


async def test_killed_at_any_moment_an_export_is_the_same_file_in_the_end(
    make_store: MakeStore, kind: str, tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    source = make_store(kind)
    await fill(source, COUNT)
    await source.export_to(tmp_path / "whole.jsonl")
    path = tmp_path / "a.jsonl"
    url = url_of(kind, source.name, tmp_path, valkey_server)
    for pause in (0.0, 0.02, 0.05):
        with start(url, source.name, "export", path, 10**9) as worker:
            await asyncio.to_thread(_kill_soon, worker, tmp_path / "a.jsonl.part", pause)
    await source.export_to(path)
    assert path.read_bytes().splitlines()[1:] == (tmp_path / "whole.jsonl").read_bytes().splitlines()[1:]


async def test_the_part_of_another_export_is_not_gone_on_with(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    source = make_store(kind)
    await fill(source, 10)
    await source.export_to(tmp_path / "a.jsonl", thread_id="t1")
    (tmp_path / "a.jsonl").rename(tmp_path / "a.jsonl.part")
    with pytest.raises(ConfigurationError, match="filter"):
        await source.export_to(tmp_path / "a.jsonl")
    assert (await source.export_to(tmp_path / "a.jsonl", resume=False)).exported == 10
    (tmp_path / "b.jsonl.part").write_text("my notes\n")
    with pytest.raises(ConfigurationError, match="no export"):
        await source.export_to(tmp_path / "b.jsonl")


@pytest.mark.parametrize("action", ["import", "replace"])
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
async def test_an_import_goes_on_behind_its_last_batch(
    make_store: MakeStore,
    kind: str,
    tmp_path: Path,
    valkey_server: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    suffix: str,
) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, COUNT)
    path = tmp_path / f"a.{suffix}"
    await source.export_to(path)
    url = url_of(kind, target.name, tmp_path, valkey_server)
    assert kill_after(url, target.name, action, path, pages=2) == 1000
    sizes = count_writes(target, monkeypatch)
    result = await target.import_from(path, on_existing="replace" if action == "replace" else "skip")
    assert (result.read, result.imported, result.resumed) == (COUNT, COUNT, 1000)
    assert sum(sizes) == COUNT - 1000
    assert_same(await everything(target), await everything(source))
    assert (await target.import_from(path)).resumed == 0  # nothing of it is remembered


async def test_a_checkpoint_is_that_of_one_file_and_one_mode(
    make_store: MakeStore, kind: str, tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, COUNT)
    path = tmp_path / "a.jsonl"
    await source.export_to(path)
    url = url_of(kind, target.name, tmp_path, valkey_server)
    kill_after(url, target.name, "import", path, pages=1)
    other = tmp_path / "b.jsonl"
    other.write_bytes(path.read_bytes()[:-1])
    assert (await target.import_from(other)).resumed == 0
    assert (await target.import_from(path, on_existing="replace")).resumed == 0
    assert (await target.import_from(path)).resumed == 500
    assert (await target.import_from(path)).resumed == 0


async def test_without_resume_an_import_begins_anew(
    make_store: MakeStore, kind: str, tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, 700)
    await source.export_to(tmp_path / "a.jsonl")
    url = url_of(kind, target.name, tmp_path, valkey_server)
    kill_after(url, target.name, "import", tmp_path / "a.jsonl", pages=1)
    result = await target.import_from(tmp_path / "a.jsonl", resume=False)
    assert (result.resumed, result.existing, result.imported) == (0, 500, 200)
