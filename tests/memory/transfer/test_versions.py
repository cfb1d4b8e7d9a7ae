"""What was superseded or archived goes into a file with the memories, and comes back as it was."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import Dynamics, FunctionEmbedder, InvalidInputError, MemoryStore
from betterdb_agent_memory.engines.base import RecordChange
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.transfer import form
from tests.embedding import DIMENSIONS, embed
from tests.memory.transfer.conftest import MakeStore, Whole, assert_same, everything

DAY_MS = 86_400_000
IDS = ["home", "tea", "bob", "pinned", "doubted", "doubt"]


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_ms = 1_750_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def named(name: str) -> FunctionEmbedder:
    return FunctionEmbedder(embed, name=name, dimensions=DIMENSIONS)


async def shelved(store: MemoryStore) -> Whole:
    """Every version that is kept beside the memories, whole."""
    records, found = store._shelf.records, {}
    ids = [row.id async for rows in records.scan(("content",)) for row in rows]
    for id, fields, expiry in zip(
        ids, await records.read_many(ids, None), await records.read_expiries(ids), strict=True
    ):
        found[id] = ({name: value for name, value in (fields or {}).items() if name != "words"}, expiry)
    return found


async def fill(store: MemoryStore, clock: Clock) -> str:
    """A store where everything has happened that can happen to a memory; the id of a corrected one."""
    dynamics = Dynamics(store)
    await store.remember("Ann lives in Paris", id="home", namespace="n", valid_from=clock() - DAY_MS)
    await store.remember("the printer is called Bob", id="bob", importance=0.0, ttl=40 * 366 * 86_400)
    clock.now_ms += 800 * DAY_MS
    await dynamics.outcome(["home"], 1.0)
    await dynamics.forget(archive=True)
    await store.remember("Ann drinks tea", id="tea", namespace="n", kind="preference", entities=["Ann"])
    new = await store.correct("home", "Ann lives in Sofia", valid_from=clock())
    clock.now_ms += DAY_MS
    newer = await store.correct(new.id, "Ann lives in Varna")
    await store.remember("Ann likes milk", id="doubted")
    await store.remember("Ann hates milk", id="doubt", contradicts="doubted")
    await store.remember("the river", id="pinned")
    await store.pin("pinned")
    await store.link("tea", newer.id, 2.0)
    await dynamics.outcome(["tea", "doubted"], 1.0)
    clock.now_ms += DAY_MS
    return newer.id


async def told(store: MemoryStore, clock: Clock, ids: list[str]) -> dict[str, Any]:
    """All that can be asked of memories as they were and are."""
    moments = [clock() - 900 * DAY_MS, clock() - 801 * DAY_MS, clock() - 1.5 * DAY_MS, clock()]
    asked = {int(at_ms): await store.recall("Ann lives", k=10, as_of=int(at_ms)) for at_ms in moments}
    return {
        "history": {id: await store.history(id) for id in ids},
        "as_of": {at_ms: sorted(hit.item.content for hit in hits) for at_ms, hits in asked.items()},
        "superseded": {hit.item.id for hit in await store.recall("Ann", k=10, include_superseded=True)},
        "standing": await Dynamics(store).standing(ids),
        "links": {id: {(link.id, round(link.weight, 4), link.since) for link in await store.links(id)} for id in ids},
    }


@pytest.mark.parametrize("target_kind", ["file", "server"])
@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "texts"])
async def test_what_was_believed_survives_the_way_through_a_file(
    make_store: MakeStore, target_kind: str, vectors: bool, tmp_path: Path
) -> None:
    clock = Clock()
    source = make_store("server" if target_kind == "file" else "file", clock=clock, embed_fn=named("one"))
    target = make_store(target_kind, clock=clock, embed_fn=named("one" if vectors else "two"))
    newest = await fill(source, clock)
    exported = await source.export_to(tmp_path / "a.jsonl.gz", vectors=vectors)
    assert (exported.exported, exported.versions) == (5, 3)
    imported = await target.import_from(tmp_path / "a.jsonl.gz")
    assert (imported.read, imported.imported, imported.versions, imported.rejected) == (8, 8, 3, 0)
    assert imported.embedded == (0 if vectors else 8)

    before = await told(source, clock, [*IDS, newest])
    assert [len(versions) for versions in before["history"].values()] == [3, 1, 1, 1, 1, 1, 3]
    assert len({tuple(found) for found in before["as_of"].values()}) == 4
    assert await told(target, clock, [*IDS, newest]) == before
    assert (await Dynamics(target).restore("bob")).content == "the printer is called Bob"
    if vectors:
        await Dynamics(source).restore("bob")
        assert_same(await shelved(target), await shelved(source))
        assert_same(await everything(target), await everything(source))
        # What is there already stays as it is, also what was brought back; what is to be replaced is.
        again = await target.import_from(tmp_path / "a.jsonl.gz")
        assert (again.existing, again.imported, again.versions) == (8, 0, 0)
        again = await target.import_from(tmp_path / "a.jsonl.gz", on_existing="replace")
        assert (again.imported, again.replaced, again.versions) == (8, 8, 3)
        assert await target.get("bob") is None
        assert "bob" in await shelved(target)
    # Who forgets, forgets what came out of a file, too.
    await target.forget(newest)
    await target.forget("bob")
    assert set(await shelved(target)) == set()


async def test_who_wants_memories_alone_gets_them_and_older_files_go_in(make_store: MakeStore, kind: str) -> None:
    clock = Clock()
    source, target = make_store(kind, clock=clock), make_store(kind, clock=clock)
    await fill(source, clock)
    alone, part = io.BytesIO(), io.BytesIO()
    result = await source.export_to(alone, include_superseded=False)
    assert (result.exported, result.versions) == (5, 0)
    assert b'"old": true' not in alone.getvalue()
    header, *lines = alone.getvalue().splitlines()
    said = json.loads(header)
    assert said.pop("superseded") is False
    old = b"\n".join([json.dumps(said).encode(), *lines, b""])  # as an earlier release wrote it
    assert (await target.import_from(io.BytesIO(old))).imported == 5
    # A part of a store takes the versions of that part along.
    assert (await source.export_to(part, namespace="n")).versions == 2
    assert [json.loads(line)["old"] for line in part.getvalue().splitlines()[1:3]] == [True, True]
    assert form.decode_header(part.getvalue().splitlines()[0]).superseded
    with pytest.raises(InvalidInputError, match="include_superseded"):
        await source.export_to(part, include_superseded="no")  # type: ignore[arg-type]
    for wrong in (1, "yes", None):
        with pytest.raises(InvalidInputError, match="old is"):
            form.decode_memory_line(json.dumps({"old": wrong, "id": "a", "content": "x"}).encode())


@pytest.mark.parametrize("lines", [2, 4, 5, 8], ids=lambda lines: f"after-{lines}")
async def test_an_interrupted_export_goes_on_among_versions_and_behind_them(
    make_store: MakeStore, lines: int, tmp_path: Path
) -> None:
    clock = Clock()
    store = make_store("file", clock=clock)
    await fill(store, clock)
    await store.export_to(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    part = tmp_path / "a.jsonl.part"
    part.write_bytes(b"".join(whole[:lines]) + b'{"cut o')
    if lines == 2:
        with pytest.raises(ConfigurationError, match="superseded"):
            await store.export_to(tmp_path / "a.jsonl", include_superseded=False)
    result = await store.export_to(tmp_path / "a.jsonl")
    assert (result.exported, result.versions, result.resumed) == (5, 3, lines - 1)
    assert (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)[1:] == whole[1:]


async def test_a_version_that_no_index_takes_and_one_of_another_model_are_not_lost(make_store: MakeStore) -> None:
    clock = Clock()
    source, target = make_store("server", clock=clock), make_store("file", clock=clock)
    await fill(source, clock)
    short = {"vector": b"\0\0\x80?", "embedder": b"another"}
    await source._shelf.records.change_many([RecordChange("home", sets=short)])
    file = io.BytesIO()
    assert (await source.export_to(file)).versions == 3
    imported = await target.import_from(io.BytesIO(file.getvalue()))
    assert (imported.versions, imported.embedded) == (3, 1)
    found = await target.recall("Ann lives in Paris", k=1, as_of=clock() - 802 * DAY_MS)
    assert [hit.item.id for hit in found] == ["home"]
