"""What goes out comes back: on both engines, across them, with and without vectors, in parts and again."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import ConfigurationError, EmbeddingError, FunctionEmbedder, InvalidInputError, MemoryStore
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Outcome, RecordWrite
from betterdb_agent_memory.errors import EmbedderUnavailableError
from betterdb_agent_memory.memory.drafts import MemoryDraft
from betterdb_agent_memory.memory.progress import Progress
from betterdb_agent_memory.memory.transfer.exporting import _Export
from tests.embedding import DIMENSIONS, embed
from tests.memory.transfer.conftest import MakeStore, assert_same, everything, put

ODD = {
    "odd-numbers": {
        "content": b"by the published Python package",
        "importance": b"1.0",
        "created_at": b"1750000000000.0",
        "access_count": b"007",
        "last_accessed_at": b"1750000000000",
    },
    "odd-bytes": {
        "content": b"caf\xe9",
        "importance": b"1e-05",
        "created_at": b"1750000000001",
        "tags": b",,a,",
        "x-theirs": b"\x00\xff",
        "metadata": b'{ "spaced": 1 }',
        "derived": b"summary",
        "kind": b"of another time",
        "entities": b"a%2Cb,%zz",
        "pinned": b"1e-05",
        "recent": b"1,2,x",
        "stability": b"33.5",
        "supersedes": b"\xff",
    },
    "unicode-\u20ac \U0001f600": {"content": "Straße\u2028\n\x85".encode(), "created_at": b"5", "threadId": b""},
}


def odd_records() -> dict[str, dict[str, bytes]]:
    vector = struct.pack(f"<{DIMENSIONS}f", *range(1, DIMENSIONS + 1))
    return {id: {**fields, "vector": vector} for id, fields in ODD.items()}


async def _newest(store: MemoryStore) -> int:
    return max([item.created_at async for item in store.iterate()])


async def fill(store: MemoryStore, count: int = 700) -> None:
    drafts = [
        MemoryDraft(
            f"memory {n}",
            importance=n % 10 / 10,
            tags=["even", "ü"] if n % 2 == 0 else None,
            thread_id=f"t{n % 3}",
            namespace="n",
            metadata={"n": n} if n % 5 == 0 else None,
            occurred_at=1_700_000_000_000 + n if n % 7 == 0 else None,
            ttl=1000 + n if n % 4 == 0 else None,
            kind="rule" if n % 6 == 0 else None,
            entities=["50%, or so", f"number {n}"] if n % 9 == 0 else None,
        )
        for n in range(count)
    ]
    results = await store.remember_many(drafts)
    assert all(result.outcome == "stored" for result in results)


@pytest.mark.parametrize("target_kind", ["file", "server"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
async def test_every_byte_and_expiry_comes_back(
    make_store: MakeStore, kind: str, target_kind: str, name: str, tmp_path: Path
) -> None:
    source, target = make_store(kind), make_store(target_kind)
    await fill(source)
    await put(source, odd_records(), ttl_seconds=5000)
    before = await everything(source)
    exported = await source.export_to(tmp_path / name)
    assert (exported.exported, exported.resumed, exported.skipped) == (703, 0, 0)
    imported = await target.import_from(tmp_path / name)
    assert (imported.read, imported.imported, imported.embedded, imported.errors) == (703, 703, 0, ())
    assert_same(await everything(target), before)
    assert_same(await everything(source), before)
    assert (await target.recall("memory 5", k=1, threshold=0.001))[0].item.content == "memory 5"


async def test_file_to_server_to_file_is_the_same_file(make_store: MakeStore, tmp_path: Path) -> None:
    first, middle, last = make_store("file", name="same"), make_store("server"), make_store("file")
    await fill(first, 300)
    await first.export_to(tmp_path / "1.jsonl")
    await middle.import_from(tmp_path / "1.jsonl")
    await middle.export_to(tmp_path / "2.jsonl")
    await last.import_from(tmp_path / "2.jsonl")
    await last.export_to(tmp_path / "3.jsonl")
    lines = [(tmp_path / f"{n}.jsonl").read_bytes().splitlines()[1:] for n in (1, 2, 3)]
    assert lines[0] == lines[1] == lines[2]


async def test_the_header_says_where_the_memories_come_from(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    source = make_store(kind, embed_fn=FunctionEmbedder(embed, name="model-a", dimensions=DIMENSIONS))
    await fill(source, 3)
    path = tmp_path / "a.jsonl"
    await source.export_to(path)
    header = json.loads(path.read_bytes().splitlines()[0])
    assert abs(header.pop("exported_at") - system_clock()) < 60_000
    assert header == {
        "format": "betterdb-agent-memory",
        "version": 1,
        "store": source.name,
        "embedder": "model-a",
        "dimensions": DIMENSIONS,
        "vectors": True,
        "memories": 3,
        "filter": None,
        "superseded": True,
    }


async def test_a_part_of_a_store(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    source = make_store(kind)
    await fill(source, 30)
    path = tmp_path / "a.jsonl"
    result = await source.export_to(path, thread_id="t1", tags=["even"], where={"importance": {"gte": 0.4}})
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    expected = [n for n in range(30) if n % 3 == 1 and n % 2 == 0 and n % 10 >= 4]
    assert sorted(line["content"] for line in lines[1:]) == sorted(f"memory {n}" for n in expected)
    assert result.exported == len(expected) == lines[0]["memories"]
    assert lines[0]["filter"]


async def test_nothing_stored_makes_a_file_with_a_header(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert (await make_store(kind).export_to(path)).exported == 0
    assert len(path.read_bytes().splitlines()) == 1
    assert (await make_store(kind).import_from(path)).read == 0


async def test_through_a_pipe(make_store: MakeStore, kind: str) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, 20)
    pipe = io.BytesIO()
    await source.export_to(pipe)
    assert not pipe.closed
    pipe.seek(0)
    assert (await target.import_from(pipe)).imported == 20
    assert_same(await everything(target), await everything(source))


async def test_fragments_are_no_memories(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    source = make_store(kind)
    await put(source, {**odd_records(), "fragment": {"created_at": b"7", "access_count": b"1"}})
    result = await source.export_to(tmp_path / "a.jsonl")
    assert (result.exported, result.skipped) == (3, 1)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
async def test_what_the_index_could_not_take_in_comes_too(make_store: MakeStore, tmp_path: Path, name: str) -> None:
    source, target = make_store("server"), make_store("server")
    await fill(source, 300)
    records = odd_records()
    records["odd-bytes"]["importance"] = b"very"
    await put(source, records)
    assert (await source.export_to(tmp_path / name)).exported == 303
    await target.import_from(tmp_path / name)
    assert_same(await everything(target), await everything(source))
    # An interrupted one is gone on with: its last lines are of no order then.
    (tmp_path / name).rename(tmp_path / f"{name}.part")
    again = await source.export_to(tmp_path / name)
    assert (again.exported, again.resumed) == (303, 303)


class TestExisting:
    async def test_what_is_there_stays(self, make_store: MakeStore, kind: str, tmp_path: Path) -> None:
        source, target = make_store(kind), make_store(kind)
        await fill(source, 10)
        await source.export_to(tmp_path / "a.jsonl")
        kept = [item.id async for item in source.iterate()][:4]
        for id in kept:
            await target.remember("mine", id=id)
        result = await target.import_from(tmp_path / "a.jsonl")
        assert (result.imported, result.existing) == (6, 4)
        assert {item.content for item in await target.get_many(kept) if item} == {"mine"}

    async def test_or_is_replaced(self, make_store: MakeStore, kind: str, tmp_path: Path) -> None:
        source, target = make_store(kind), make_store(kind)
        await fill(source, 10)
        await source.export_to(tmp_path / "a.jsonl")
        for id in [item.id async for item in source.iterate()][:4]:
            await target.remember("mine", id=id, ttl=77, source="gone afterwards")
        result = await target.import_from(tmp_path / "a.jsonl", on_existing="replace")
        assert (result.imported, result.existing, result.replaced) == (10, 0, 4)
        assert_same(await everything(target), await everything(source))

    async def test_an_id_that_comes_twice_is_taken_once(self, make_store: MakeStore, kind: str, tmp_path: Path) -> None:
        source, target = make_store(kind), make_store(kind)
        await fill(source, 3)
        path = tmp_path / "a.jsonl"
        await source.export_to(path)
        path.write_bytes(path.read_bytes() + b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
        result = await target.import_from(path)
        assert (result.read, result.imported, result.existing) == (6, 3, 3)

    @pytest.mark.parametrize("count", [300, 900])  # both lines in one batch of the import, or in two
    async def test_what_is_replaced_during_an_export_is_in_it_as_it_was_and_as_it_is(
        self, make_store: MakeStore, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        source = make_store(kind)
        await source.remember_many([MemoryDraft(f"m{n}", id=f"i{n:03}") for n in range(count)])
        while system_clock() <= (await _newest(source)):  # noqa: ASYNC110 - a millisecond
            await asyncio.sleep(0.001)
        whole = _Export._whole

        async def replacing(self: _Export, ids: Sequence[str], *of: Any, **said: Any) -> Any:
            found = await whole(self, ids, *of, **said)
            if "i000" in ids and self.done == 0:
                await source.remember("m0 anew", id="i000", on_duplicate="replace")
            return found

        monkeypatch.setattr(_Export, "_whole", replacing)
        path = tmp_path / "all.jsonl"
        exported = await source.export_to(path)
        lines = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
        assert [line["content"] for line in lines if line["id"] == "i000"] == ["m0", "m0 anew"]
        assert (exported.exported, len({line["id"] for line in lines})) == (count + 1, count)
        for on_existing, content, imported in (("skip", "m0", count), ("replace", "m0 anew", count + 1)):
            store = make_store(kind)
            result = await store.import_from(path, on_existing=on_existing)  # type: ignore[arg-type]
            assert (result.imported, result.existing) == (imported, count + 1 - imported)
            stored = await store.get("i000")
            assert stored is not None
            assert stored.content == content

    async def test_what_is_replaced_during_a_walk_comes_again_later(self, make_store: MakeStore, kind: str) -> None:
        store = make_store(kind)
        await store.remember_many([MemoryDraft(f"m{n}", id=f"i{n}") for n in range(4)])
        while system_clock() <= (await _newest(store)):  # noqa: ASYNC110 - a millisecond
            await asyncio.sleep(0.001)
        seen = []
        async for item in store.iterate(page_size=1):
            seen.append(item.content)
            if len(seen) == 2:
                await store.remember("m0 anew", id="i0", on_duplicate="replace")
                await store.update("i1", content="m1 changed")
        assert seen == ["m0", "m1", "m2", "m3", "m0 anew"]

    async def test_another_word_is_refused(self, make_store: MakeStore, tmp_path: Path) -> None:
        wrong: Any = "overwrite"
        with pytest.raises(InvalidInputError, match="overwrite"):
            await make_store("file").import_from(tmp_path / "a.jsonl", on_existing=wrong)


async def test_what_has_expired_is_not_brought_back(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, 4)
    path = tmp_path / "a.jsonl"
    await source.export_to(path)
    header, *lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    lines[1]["expires_at"] = system_clock() - 1
    path.write_text("\n".join(map(json.dumps, [header, *lines])))
    result = await target.import_from(path)
    assert (result.imported, result.expired) == (3, 1)
    assert await target.get(lines[1]["id"]) is None


async def test_a_bad_line_costs_no_other(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, 600)
    path = tmp_path / "a.jsonl"
    await source.export_to(path)
    lines = path.read_bytes().splitlines()
    lines[2] = b"not json"
    lines[3] = b'{"id": "a:b", "content": "c", "created_at": 1}'
    lines[555] = lines[555][:-20]
    path.write_bytes(b"\n".join(lines))
    result = await target.import_from(path)
    assert (result.read, result.imported, result.rejected) == (600, 597, 3)
    assert [error.line for error in result.errors] == [3, 4, 556]
    assert "colon" in result.errors[1].reason


async def test_what_an_engine_refuses_costs_no_other(
    make_store: MakeStore, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, 5)
    path = tmp_path / "a.jsonl"
    await source.export_to(path)
    write_many = type(target._records).write_many

    # No line that passes our checks is refused by today's engines; another limit of theirs must not cost a batch.
    async def particular(self: Any, writes: Sequence[RecordWrite]) -> list[Outcome]:
        if any(write.fields["content"] == b"memory 3" for write in writes):
            raise InvalidInputError("not that one")
        return await write_many(self, writes)

    monkeypatch.setattr(type(target._records), "write_many", particular)
    result = await target.import_from(path)
    assert (result.imported, [error.reason for error in result.errors]) == (4, ["not that one"])
    assert (await target.stats()).item_count == 4


async def test_lines_that_were_refused_before_an_interruption_are_told(
    make_store: MakeStore, kind: str, tmp_path: Path
) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, 600)
    path = tmp_path / "a.jsonl"
    await source.export_to(path)
    lines = path.read_bytes().splitlines()
    lines[7] = b"?"
    path.write_bytes(b"\n".join(lines))

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await target.import_from(path, on_progress=stop)
    result = await target.import_from(path)
    assert (result.resumed, result.rejected, [error.line for error in result.errors]) == (500, 1, [8])


async def test_a_memory_without_a_time_gets_the_files(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    header = {"format": "betterdb-agent-memory", "version": 1, "store": "s", "exported_at": 77, "vectors": False}
    path.write_text("\n".join(map(json.dumps, [header, {"id": "a", "content": "c"}])))
    target = make_store(kind)
    assert (await target.import_from(path)).imported == 1
    assert [item.created_at async for item in target.iterate()] == [77]


async def test_of_many_bad_lines_all_are_counted_and_some_reported(make_store: MakeStore, tmp_path: Path) -> None:
    source = make_store("file")
    path = tmp_path / "a.jsonl"
    await source.export_to(path)
    path.write_bytes(path.read_bytes() + b"?\n" * 250)
    result = await source.import_from(path)
    assert result.rejected == 250
    assert len(result.errors) == 100


async def test_a_file_of_something_else_is_refused(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"content": "hello"}\n')
    with pytest.raises(InvalidInputError, match="no export"):
        await make_store(kind).import_from(path)
    with pytest.raises(ConfigurationError, match="missing"):
        await make_store(kind).import_from(tmp_path / "missing.jsonl")


class TestVectors:
    async def test_are_made_anew_where_the_file_has_none(
        self, make_store: MakeStore, kind: str, tmp_path: Path
    ) -> None:
        source, target = make_store(kind), make_store(kind)
        await fill(source, 30)
        await source.export_to(tmp_path / "a.jsonl", vectors=False)
        assert b"vector" not in (tmp_path / "a.jsonl").read_bytes().replace(b'"vectors"', b"")
        told: list[Progress] = []
        result = await target.import_from(tmp_path / "a.jsonl", on_progress=told.append)
        assert result.embedded == 30
        assert result.embedded_because == "the file holds no vectors"
        assert {progress.stage for progress in told} == {"embedding and importing"}
        assert_same(await everything(target), await everything(source))

    async def test_are_made_anew_by_another_model(self, make_store: MakeStore, kind: str, tmp_path: Path) -> None:
        async def backwards(text: str) -> list[float]:
            return (await embed(text))[::-1]

        source = make_store(kind, embed_fn=FunctionEmbedder(embed, name="a", dimensions=DIMENSIONS))
        target = make_store(kind, embed_fn=FunctionEmbedder(backwards, name="b", dimensions=DIMENSIONS))
        await fill(source, 5)
        await source.export_to(tmp_path / "a.jsonl")
        result = await target.import_from(tmp_path / "a.jsonl")
        assert result.embedded == 5
        assert result.embedded_because == "the file's vectors were made by a, the store's embedder is b"
        assert (await target.recall("memory 3", k=1, threshold=0.001))[0].item.content == "memory 3"

    async def test_are_made_anew_for_another_length(self, make_store: MakeStore, kind: str, tmp_path: Path) -> None:
        async def short(text: str) -> list[float]:
            return (await embed(text))[:4]

        source, target = make_store(kind), make_store(kind, embed_fn=short)
        await fill(source, 5)
        await source.export_to(tmp_path / "a.jsonl")
        result = await target.import_from(tmp_path / "a.jsonl")
        assert result.embedded == 5
        assert "8 dimensions" in str(result.embedded_because)

    async def test_of_one_line_are_made_anew_where_they_are_unusable(
        self, make_store: MakeStore, kind: str, tmp_path: Path
    ) -> None:
        source, target = make_store(kind), make_store(kind)
        await fill(source, 4)
        path = tmp_path / "a.jsonl"
        await source.export_to(path)
        header, *lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        del lines[0]["vector"]
        lines[1]["vector"] = "AACAPw=="
        lines[2]["vector"] = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *[math.nan] * DIMENSIONS)).decode()
        path.write_text("\n".join(map(json.dumps, [header, *lines])))
        result = await target.import_from(path)
        assert (result.imported, result.rejected) == (4, 0)
        assert result.embedded == 3
        assert "missing" in str(result.embedded_because)
        assert_same(await everything(target), await everything(source))

    async def test_need_an_embedder_before_anything_is_written(
        self, make_store: MakeStore, kind: str, tmp_path: Path
    ) -> None:
        source, target = make_store(kind), make_store(kind, embed_fn=None)
        await fill(source, 5)
        await source.export_to(tmp_path / "without.jsonl", vectors=False)
        with pytest.raises(ConfigurationError, match="no embedder"):
            await target.import_from(tmp_path / "without.jsonl")
        assert (await target.stats()).item_count == 0

    async def test_of_the_file_do_without_an_embedder(self, make_store: MakeStore, kind: str, tmp_path: Path) -> None:
        source = make_store(kind)
        await fill(source, 5)
        path = tmp_path / "a.jsonl"
        await source.export_to(path)
        lines = path.read_bytes().splitlines()
        without = json.loads(lines[1])
        del without["vector"]
        path.write_bytes(b"\n".join([lines[0], json.dumps(without).encode(), *lines[2:]]))
        target = make_store(kind, embed_fn=None)
        result = await target.import_from(path)
        assert (result.imported, result.rejected) == (4, 1)
        assert result.errors[0].line == 2
        assert await target.recall_by_vector(await embed("memory 3"), k=1)

    async def test_a_text_that_cannot_be_embedded_costs_no_other(
        self, make_store: MakeStore, kind: str, tmp_path: Path
    ) -> None:
        async def particular(text: str) -> list[float]:
            if text == "memory 3":
                raise ValueError("not that one")
            return await embed(text)

        source, target = make_store(kind), make_store(kind, embed_fn=particular)
        await fill(source, 6)
        await source.export_to(tmp_path / "a.jsonl", vectors=False)
        result = await target.import_from(tmp_path / "a.jsonl")
        assert (result.imported, result.rejected) == (5, 1)
        assert "not that one" in result.errors[0].reason

    @pytest.mark.parametrize("down_from", [5, 8, 12, 14, 20])
    async def test_a_bad_text_and_an_outage_cost_no_good_line(
        self, make_store: MakeStore, kind: str, tmp_path: Path, down_from: int
    ) -> None:
        calls = 0

        class Failing:
            name, dimensions, default_threshold = "failing", DIMENSIONS, 2.0

            async def embed_query(self, text: str) -> list[float]:
                return (await self.embed_documents([text]))[0]

            async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
                nonlocal calls
                calls += 1
                if calls > down_from:
                    raise RuntimeError("bad gateway")
                if "memory 10" in texts:
                    raise ValueError("not that one")
                return [await embed(text) for text in texts]

        source, target = make_store(kind), make_store(kind, embed_fn=Failing())
        await fill(source, 600)
        await source.export_to(tmp_path / "a.jsonl", vectors=False)
        with pytest.raises(EmbeddingError, match=r"bad gateway|not that one"):
            await target.import_from(tmp_path / "a.jsonl")
        down_from = 10**9
        result = await target.import_from(tmp_path / "a.jsonl")
        assert result.imported + result.existing == 599
        assert ["not that one" in error.reason for error in result.errors] == [True]
        assert (await target.stats()).item_count == 599

    async def test_a_last_text_that_fails_in_an_outage_is_tried_again(
        self, make_store: MakeStore, tmp_path: Path
    ) -> None:
        async def down(text: str) -> list[float]:
            raise RuntimeError("bad gateway")

        source = make_store("file")
        await fill(source, 1)
        await source.export_to(tmp_path / "a.jsonl", vectors=False)
        with pytest.raises(EmbeddingError, match="bad gateway"):
            await make_store("file", name="again", embed_fn=down).import_from(tmp_path / "a.jsonl")
        assert (await make_store("file", name="again").import_from(tmp_path / "a.jsonl")).imported == 1

    async def test_of_zeros_are_none(self, make_store: MakeStore, kind: str, tmp_path: Path) -> None:
        source = make_store(kind)
        await fill(source, 2)
        path = tmp_path / "a.jsonl"
        await source.export_to(path)
        header, *lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        lines[0]["vector"] = base64.b64encode(bytes(4 * DIMENSIONS)).decode()
        path.write_text("\n".join(map(json.dumps, [header, *lines])))
        result = await make_store(kind, embed_fn=None).import_from(path)
        assert (result.imported, [error.line for error in result.errors]) == (1, [2])
        assert (await make_store(kind).import_from(path)).embedded == 1

    async def test_an_embedder_that_is_away_stops_the_import_and_the_next_goes_on(
        self, make_store: MakeStore, kind: str, tmp_path: Path
    ) -> None:
        calls = 0

        async def tired(text: str) -> list[float]:
            nonlocal calls
            calls += 1
            if calls > 600:
                raise EmbedderUnavailableError("later")
            return await embed(text)

        source, name = make_store(kind), f"again{kind}"
        await fill(source, 1200)
        await source.export_to(tmp_path / "a.jsonl", vectors=False)
        with pytest.raises(EmbeddingError, match="later"):
            await make_store(kind, name=name, embed_fn=tired).import_from(tmp_path / "a.jsonl")
        target = make_store(kind, name=name)
        result = await target.import_from(tmp_path / "a.jsonl")
        assert result.resumed == 500
        assert result.imported + result.existing == 1200
        assert_same(await everything(target), await everything(source))


async def test_progress_counts_up_to_all(make_store: MakeStore, kind: str, tmp_path: Path) -> None:
    source, target = make_store(kind), make_store(kind)
    await fill(source, 600)
    told: list[Progress] = []
    await source.export_to(tmp_path / "a.jsonl", on_progress=told.append)
    done = [progress.done for progress in told]
    assert len(done) >= 3
    assert done == sorted(done)
    assert done[-1] == 600
    assert {(progress.stage, progress.total) for progress in told} == {("exporting", 600)}
    told.clear()
    await target.import_from(tmp_path / "a.jsonl", on_progress=told.append)
    assert [(progress.stage, progress.done, progress.total) for progress in told] == [
        ("importing", 500, 600),
        ("importing", 600, 600),
    ]


async def test_packed_files_are_readable_by_everybody(make_store: MakeStore, tmp_path: Path) -> None:
    source = make_store("file")
    await fill(source, 600)
    await source.export_to(tmp_path / "a.jsonl.gz")
    await source.export_to(tmp_path / "a.jsonl")
    assert (
        gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).splitlines()[1:]
        == (tmp_path / "a.jsonl").read_bytes().splitlines()[1:]
    )
