"""Exports and imports while the embedding model is changed: never vectors of two models, in a file or a store."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import IndexMismatchError, IndexNotReadyError, MemoryStore
from betterdb_agent_memory.memory.transfer.files import PartFile
from tests.memory.generations.conftest import _short_waits  # noqa: F401 - a fixture for all of these
from tests.memory.generations.test_races import until_finishing
from tests.memory.generations.words import WordEmbedder, following, former
from tests.memory.transfer.conftest import MakeStore

LINES = 700
DIMENSIONS = pytest.mark.parametrize("dimensions", [16, 24], ids=["the same length", "another length"])


class Gated(io.BytesIO):
    """A file whose reader waits in front of its second batch."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.reached, self.gate, self._lines = threading.Event(), threading.Event(), 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self._lines += 1
        if self._lines == 502:
            self.reached.set()
            assert self.gate.wait(30)
        return super().readline(size)


async def exported(make_store: MakeStore, kind: str) -> bytes:
    source = make_store(kind, embed_fn=former())
    await source.remember_many([f"line {n}" for n in range(LINES)])
    stream = io.BytesIO()
    await source.export_to(stream)
    return stream.getvalue()


async def switched(make_store: MakeStore, kind: str, dimensions: int) -> MemoryStore:
    store = make_store(kind, embed_fn=former(), next_embed_fn=following(dimensions))
    await store.remember_many([f"before {n}" for n in range(300)])
    await store.migration.start()
    await store.migration.run()
    await store.migration.switch()
    return store


async def of_another_model(store: MemoryStore, model: WordEmbedder) -> list[str]:
    """The contents whose vector is not the model's."""
    wrong = []
    async for rows in store._records.scan(("content", "vector")):
        for row in rows:
            text = row.fields["content"].decode()
            if row.fields["vector"] != np.asarray(model.vector(text), "<f4").tobytes():
                wrong.append(text)
    return wrong


def finishing_before_the_write(store: MemoryStore, worker: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next import of `worker` stands still in front of its first write until the change is finished."""
    records: Any = worker._records
    written = records.write_many
    waiting = [True]

    async def late(self: Any, writes: Any) -> Any:
        if self is records and waiting and writes[0].id.startswith("line"):
            waiting.clear()
            await store.migration.finish()
        return await original(self, writes)

    original = type(records).write_many
    assert written.__func__ is original
    monkeypatch.setattr(type(records), "write_many", late)


@DIMENSIONS
async def test_an_import_across_the_end_of_a_change(make_store: MakeStore, kind: str, dimensions: int) -> None:
    content = await exported(make_store, kind)
    store = await switched(make_store, kind, dimensions)
    worker = make_store(kind, name=store.name, embed_fn=former(), next_embed_fn=following(dimensions))
    stream = Gated(content)
    importing = asyncio.create_task(worker.import_from(stream))
    assert await asyncio.to_thread(stream.reached.wait, 30)
    await store.migration.finish()
    stream.gate.set()
    result = await importing
    assert (result.imported, result.embedded) == (LINES, 200)
    assert "former" in str(result.embedded_because) or "dimensions" in str(result.embedded_because)
    assert await of_another_model(store, following(dimensions)) == []
    assert (await store.recall("line 650", k=1))[0].item.content == "line 650"


@DIMENSIONS
async def test_an_import_that_stands_still_in_front_of_a_write(
    make_store: MakeStore, kind: str, dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (await exported(make_store, kind)).replace(b'{"id": "', b'{"id": "line')
    store = await switched(make_store, kind, dimensions)
    worker = make_store(kind, name=store.name, embed_fn=former(), next_embed_fn=following(dimensions))
    finishing_before_the_write(store, worker, monkeypatch)
    result = await worker.import_from(io.BytesIO(content))
    assert (result.imported, result.rejected) == (LINES, 0)
    assert await of_another_model(store, following(dimensions)) == []
    assert (await store.recall("line 3", k=1))[0].item.content == "line 3"


async def test_without_the_next_model_what_went_in_late_is_taken_back(
    make_store: MakeStore, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (await exported(make_store, kind)).replace(b'{"id": "', b'{"id": "line')
    store = await switched(make_store, kind, 16)
    worker = make_store(kind, name=store.name, embed_fn=former())
    finishing_before_the_write(store, worker, monkeypatch)
    with pytest.raises(IndexMismatchError, match="following"):
        await worker.import_from(io.BytesIO(content))
    assert await of_another_model(store, following(16)) == []
    assert (await store.import_from(io.BytesIO(content))).imported == LINES


@DIMENSIONS
async def test_an_export_is_refused_while_vectors_are_replaced(
    make_store: MakeStore, kind: str, dimensions: int, tmp_path: Path
) -> None:
    store = await switched(make_store, kind, dimensions)
    finishing = await until_finishing(store)
    with pytest.raises(IndexNotReadyError, match=r"following.*finish"):
        await store.export_to(tmp_path / "a.jsonl")
    assert list(tmp_path.glob("a.jsonl*")) == []
    assert (await store.export_to(tmp_path / "a.jsonl", vectors=False)).exported == 300
    await finishing
    assert (await store.export_to(tmp_path / "a.jsonl")).exported == 300


async def test_an_export_across_the_end_of_a_change_leaves_nothing(
    make_store: MakeStore, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await switched(make_store, kind, 16)
    reached, gate = threading.Event(), threading.Event()
    append = PartFile.append

    def slowly(self: PartFile, lines: bytes) -> None:
        append(self, lines)
        if not reached.is_set() and b"before" in lines:
            reached.set()
            assert gate.wait(30)

    monkeypatch.setattr(PartFile, "append", slowly)
    exporting = asyncio.create_task(store.export_to(tmp_path / "a.jsonl"))
    assert await asyncio.to_thread(reached.wait, 30)
    await store.migration.finish()
    gate.set()
    with pytest.raises(IndexNotReadyError, match="changed during the export"):
        await exporting
    assert list(tmp_path.glob("a.jsonl*")) == []
