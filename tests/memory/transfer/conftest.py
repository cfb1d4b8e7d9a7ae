"""Stores on both engines, and whole records of them to compare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.memory.record import WORDS, memory_collection
from tests.embedding import embed
from tests.servers import ValkeyServer

ENGINES = ["file", "server"]

MakeStore = Callable[..., MemoryStore]


@pytest.fixture
async def make_store(tmp_path: Path, valkey_server: ValkeyServer) -> AsyncIterator[MakeStore]:
    """Makes stores, each with an engine of its own: `make_store("server", name="a")`."""
    opened: list[tuple[MemoryStore, Engine]] = []

    def make(kind: str, *, name: str | None = None, **options: Any) -> MemoryStore:
        name = name or f"t{uuid4().hex[:12]}"
        engine = open_engine(tmp_path / f"{name}.db" if kind == "file" else valkey_server.url)
        store = MemoryStore(client=engine, name=name, **{"embed_fn": embed, "default_threshold": 2.0, **options})
        opened.append((store, engine))
        return store

    yield make
    for store, engine in opened:
        await store.close()
        await engine.close()


@pytest.fixture(params=ENGINES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Whole = dict[str, tuple[dict[str, bytes], int | None]]


async def everything(store: MemoryStore) -> Whole:
    """Every record of a store: all fields as stored, and when it expires.

    Without the words that it is found by: each store makes its own (docs/export-import.md).
    """
    records = store._engine.records(memory_collection(store.name))
    found: Whole = {}
    async for rows in records.scan(("content",)):
        ids = [row.id for row in rows]
        for id, fields, expiry in zip(
            ids, await records.read_many(ids, None), await records.read_expiries(ids), strict=True
        ):
            if fields is not None:
                found[id] = ({name: value for name, value in fields.items() if name != WORDS}, expiry)
    return found


async def put(
    store: MemoryStore, records: Mapping[str, Mapping[str, bytes]], *, ttl_seconds: int | None = None
) -> None:
    """Write records as some other program might have written them."""
    await store.ensure_index()
    writes = [RecordWrite(id, fields, ttl_seconds=ttl_seconds) for id, fields in records.items()]
    await store._engine.records(memory_collection(store.name)).write_many(writes)


def assert_same(left: Whole, right: Whole) -> None:
    """Equal field by field, byte for byte, and expiring within a second of each other."""
    assert left.keys() == right.keys()
    for id, (fields, expiry) in left.items():
        other_fields, other_expiry = right[id]
        assert fields == other_fields, id
        assert (expiry is None) == (other_expiry is None), id
        if expiry is not None and other_expiry is not None:
            assert abs(expiry - other_expiry) < 1000, id
