"""Every write through a store's records is noticed, and no read is."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import InvalidInputError, MemoryStore
from betterdb_agent_memory.engines.base import Fence, RecordChange, Records, RecordWrite
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.errors import LeaseLostError
from betterdb_agent_memory.memory.near.noticing import COUNTS, READS, NoticedRecords, noticed
from betterdb_agent_memory.memory.record import memory_collection
from betterdb_agent_memory.near_cache import NearCache
from tests.embedding import AHEAD, embed
from tests.near import Stopwatch, near

WRITES = {"write_many", "change_many", "delete_many", "rebuild", "drop"}


def test_each_verb_of_records_is_known_to_write_or_not_to() -> None:
    verbs = {name for name, _ in inspect.getmembers(Records) if not name.startswith("_")}
    assert {name for name in vars(NoticedRecords) if not name.startswith("_")} == WRITES
    assert verbs == WRITES | READS | COUNTS


FIELDS = {"content": b"c", "vector": b"\x00\x00\x80?", "threadId": b"t"}
SCOPE_T: dict[str, bytes | None] = {"threadId": b"t", "agentId": None, "namespace": None}
SCOPE_U = SCOPE_T | {"threadId": b"u"}


@pytest.mark.parametrize(
    ("write", "drops"),
    [
        pytest.param(lambda records: records.write_many([RecordWrite("2", FIELDS)]), {"t", "all"}, id="another"),
        pytest.param(
            lambda records: records.write_many([RecordWrite("1", {**FIELDS, "threadId": b"u"})]),
            {"t", "u", "all"},
            id="one that moves",
        ),
        pytest.param(
            lambda records: records.write_many([RecordWrite("1", FIELDS, if_exists=RecordChange("1"))]),
            {"t", "u", "all"},
            id="one that is changed",
        ),
        pytest.param(
            lambda records: records.change_many([RecordChange("1", sets={"tags": b"x"})]),
            {"t", "u", "all"},
            id="change",
        ),
        pytest.param(
            lambda records: records.change_many([RecordChange("1", sets={"tags": b"x"}, expected=SCOPE_T)]),
            {"t", "all"},
            id="change in a scope",
        ),
        pytest.param(
            lambda records: records.write_many(
                [RecordWrite("1", FIELDS, if_exists=RecordChange("1", sets={"tags": b"x"}, expected=SCOPE_T))]
            ),
            {"t", "all"},
            id="one that is changed in a scope",
        ),
        pytest.param(
            lambda records: records.change_many([RecordChange("1", sets={"tags": b"x"}, expected=SCOPE_U)]),
            set(),
            id="change that is refused",
        ),
        pytest.param(lambda records: records.change_many([RecordChange("gone")]), set(), id="change of nothing"),
        pytest.param(lambda records: records.delete_many(["1"]), {"t", "all"}, id="delete"),
        pytest.param(lambda records: records.delete_many(["gone"]), set(), id="delete nothing"),
        pytest.param(lambda records: records.rebuild(1), {"t", "u", "all"}, id="rebuild"),
        pytest.param(lambda records: records.drop(), {"t", "u", "all"}, id="drop"),
        pytest.param(lambda records: records.read_many(["1"], None), set(), id="read"),
    ],
)
async def test_a_write_drops_what_it_may_concern(
    write: Callable[[Records], Awaitable[Any]], drops: set[str], store_name: str
) -> None:
    engine = EmbeddedEngine(":memory:")
    cache: NearCache[None] = NearCache(max_age_seconds=60, max_entries=10, max_bytes=100, now_seconds=Stopwatch())
    records = noticed(engine.records(memory_collection(store_name)), cache)
    await records.prepare(1)
    await records.write_many([RecordWrite("1", FIELDS)])
    asked = {"t": (b"t", None, None), "u": (b"u", None, None), "all": (None, None, None)}
    with cache.reading() as reading:
        for key, scope in asked.items():
            gives = () if key == "u" else (("id", "1"),)
            assert cache.keep(reading, key, None, subjects=[("scope", scope), *gives], size_bytes=1)
    await write(records)
    assert {key for key in asked if cache.find(key) is None} == drops
    await engine.close()


async def test_a_write_that_failed_may_have_happened(store_name: str) -> None:
    engine = EmbeddedEngine(":memory:")
    cache: NearCache[None] = NearCache(max_age_seconds=60, max_entries=10, max_bytes=100, now_seconds=Stopwatch())
    records = noticed(engine.records(memory_collection(store_name)), cache)
    await records.prepare(1)
    await engine.leases.acquire("lease", "other", ttl_seconds=60)
    late = Fence("lease", 0)
    for write in (
        records.write_many([RecordWrite("1", FIELDS)], fence=late),
        records.change_many([RecordChange("1")], fence=late),
    ):
        with cache.reading() as reading:
            assert cache.keep(reading, "k", None, subjects=[("scope", (b"u", None, None))], size_bytes=1)
        with pytest.raises(LeaseLostError):
            await write
        assert cache.find("k") is None
    await engine.close()


async def test_a_new_index_and_an_import_are_noticed(store_name: str, tmp_path: Path) -> None:
    engine = EmbeddedEngine(":memory:")
    store = MemoryStore(
        client=engine, name=store_name, embed_fn=embed, default_threshold=2.0, near_cache=near(Stopwatch())
    )
    id = await store.remember("one")
    await store.export_to(tmp_path / "memories.jsonl")
    await store.forget(id)
    assert await store.recall(AHEAD) == []
    await store.import_from(tmp_path / "memories.jsonl")
    assert len(await store.recall(AHEAD)) == 1
    assert store._near is not None
    assert store._near.statistics().entries == 1
    await store.reindex()
    assert store._near.statistics().entries == 0
    with pytest.raises(InvalidInputError, match="fresh"):
        await store.recall(AHEAD, fresh="yes")  # type: ignore[arg-type]
    await store.close()
    await engine.close()
