"""Records that leave their collection for another one, with what takes their places."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.base import (
    Collection,
    Engine,
    Fence,
    Outcome,
    RecordChange,
    Records,
    RecordWrite,
    Retired,
    Retirement,
)
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.event_log import BEGINNING, Announcement, Deed, Retention
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.groups import group_name
from betterdb_agent_memory.engines.retiring import retire_in_steps
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.errors import LeaseLostError
from tests.engines.valkey.samples import SCHEMA, collection, record, record_of
from tests.servers import ValkeyServer

KEEPS = Retention(1000)


class _ApartClient(ValkeyClient):
    """As on a cluster whose keys all lie in different slots: no script touches two of them."""

    def are_together(self, *keys: str) -> bool:
        return len(set(keys)) < 2


@dataclass
class Teller:
    """Says what is to be told of each deed."""

    log_key: str

    def of(self, deed: Deed, id: str) -> Announcement | None:
        del id
        said: Mapping[str, bytes] = {"kind": deed.encode()}
        changed = {"kind": b"changed"} if deed == "write" else None
        return Announcement(self.log_key, KEEPS, "memory", ("threadId", "superseded_by"), said, changed)


@dataclass
class Counting:
    """Wants groups counted."""

    is_on: bool = True

    def counted(self, group: str, size: int | None) -> None:
        del group, size


@pytest.fixture(params=["file", "server", "decoding", "apart"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def engine(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if place == "file":
        embedded = EmbeddedEngine(tmp_path / "memories.db")
        yield embedded
        await embedded.close()
        return
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    client = server.client(decode_responses=place == "decoding")
    remote = ValkeyEngine(client)
    if place == "apart":
        remote._client = _ApartClient(client)
    yield remote
    await client.aclose()


@dataclass
class Two:
    """A collection, the one that its records leave for, and what is kept beside."""

    engine: Engine
    name: str
    records: Records
    shelf: Records

    async def told(self) -> list[dict[str, str]]:
        """But for what is told where it takes several steps: that a record was given its sets."""
        page = await self.engine.event_log(f"{self.name}:__log").read(BEGINNING, count=100)
        assert page is not None
        entries = [{name: value.decode() for name, value in entry.fields.items()} for entry in page.entries]
        return [entry for entry in entries if entry["kind"] != "change"]

    async def everything(self) -> tuple[dict[str, Fields], dict[str, Fields]]:
        return await _all(self.records), await _all(self.shelf)


async def _all(records: Records) -> dict[str, Fields]:
    ids = [row.id async for rows in records.scan(["content"]) for row in rows]
    found = await records.read_many(ids, None)
    return {id: fields for id, fields in zip(ids, found, strict=True) if fields is not None}


@pytest.fixture
async def two(engine: Engine, store_name: str) -> Two:
    counted = replace(collection(store_name), group_fields=("threadId", "agentId"), counts_key=f"{store_name}:__counts")
    await engine.event_log(f"{store_name}:__log").open(KEEPS)
    records = engine.records(counted, Counting(), Teller(f"{store_name}:__log"))
    shelf = engine.records(Collection(f"{store_name}:old:", f"{store_name}:old:idx", SCHEMA))
    await records.prepare(4)
    await shelf.prepare(4)
    return Two(engine, store_name, records, shelf)


SETS = {"superseded_by": b"new", "valid_until": b"17"}


async def test_a_record_leaves_with_its_fields_and_its_successor_takes_its_place(two: Two) -> None:
    await two.records.write_many([record("old", threadId="a", subject="s"), record("other")])
    [before] = await two.records.read_many(["old"], None)
    retirement = Retirement(
        "old",
        "old",
        expected={"content": b"text of old", "superseded_by": None},
        sets=SETS,
        without=("subject",),
        successor=record("new", threadId="a"),
    )
    assert await two.records.retire_many([retirement], two.shelf) == [Retired.RETIRED]
    live, kept = await two.everything()
    assert sorted(live) == ["new", "other"]
    assert sorted(kept) == ["old"]
    assert before is not None
    assert kept["old"] == {name: value for name, value in before.items() if name != "subject"} | SETS
    assert live["new"]["content"] == b"text of new"
    assert [(one["kind"], one["memory"], one.get("superseded_by")) for one in (await two.told())[2:]] == [
        ("write", "new", None),
        ("delete", "old", "new"),
    ]
    # Both are found by whoever searches there, and nowhere else.
    for records, ids in ((two.records, {"new", "other"}), (two.shelf, {"old"})):
        page = await records.select(Filter(), fields=["content"], limit=10)
        assert {row.id for row in page.rows} == ids


async def test_a_successor_that_is_there_is_changed_in_the_same_step(two: Two) -> None:
    await two.records.write_many([record("old"), record("new", threadId="b", supersedes="x")])
    change = RecordChange("new", unions={"supersedes": b"old"}, revision_field="version")
    retirement = Retirement("old", "old", sets=SETS, successor=change)
    assert await two.records.retire_many([retirement], two.shelf) == [Retired.RETIRED]
    live, kept = await two.everything()
    assert sorted(live) == ["new"]
    assert sorted(kept) == ["old"]
    assert live["new"]["supersedes"] == b"x,old"
    assert live["new"]["version"] == b"2"
    assert [(one["kind"], one["memory"]) for one in (await two.told())[2:]] == [("delete", "old")]


async def test_a_worker_whose_lease_has_passed_on_moves_nothing(two: Two, store_name: str) -> None:
    await two.records.write_many([record("a"), record("b")])
    tokens = []
    for owner in ("first", "second"):
        token = await two.engine.leases.acquire(store_name, owner, ttl_seconds=30, lasting=True)
        assert token is not None
        tokens.append(token)
        if owner == "first":
            await two.records.write_many([record("b")], fence=Fence(store_name, token))
            await two.engine.leases.release(store_name, owner)
    late, present = (Fence(store_name, token) for token in tokens)
    await two.records.change_many([RecordChange(id, sets={"source": b"s"}) for id in "ab"], fence=present)
    retirements = [Retirement(id, id, sets=SETS) for id in "ab"]
    with pytest.raises(LeaseLostError):
        await two.records.retire_many(retirements, two.shelf, fence=late)
    live, kept = await two.everything()
    assert (sorted(live), kept) == (["a", "b"], {})
    assert all("superseded_by" not in fields for fields in live.values())
    assert await two.records.retire_many(retirements, two.shelf, fence=present) == [Retired.RETIRED] * 2


async def test_what_cannot_be_done_changes_nothing(two: Two) -> None:
    await two.records.write_many([record("old"), record("twice"), record("new")])
    await two.shelf.write_many([record("twice", content="an older one")])
    before, told = await two.everything(), await two.told()
    never = RecordChange("new", expected={"content": b"another text"}, sets={"source": b"s"})
    attempts = [
        (Retirement("gone", "gone", sets=SETS, successor=record("n1")), Retired.MISSING),
        (Retirement("old", "old", expected={"content": b"x"}, sets=SETS, successor=record("n2")), Retired.REFUSED),
        (Retirement("twice", "twice", sets=SETS, successor=record("n3")), Retired.TAKEN),
        (
            Retirement("old", "old", sets=SETS, successor=RecordChange("n4", sets={"source": b"s"})),
            Retired.NO_SUCCESSOR,
        ),
        (Retirement("old", "old", sets=SETS, successor=never), Retired.NO_SUCCESSOR),
    ]
    for retirement, outcome in attempts:
        assert await two.records.retire_many([retirement], two.shelf) == [outcome]
        assert await two.everything() == before
    assert await two.told() == told


async def test_what_left_expires_when_it_would_have_or_when_it_is_kept_no_longer(two: Two) -> None:
    writes = [record("soon", ttl_seconds=100), record("late", ttl_seconds=100_000), record("never")]
    await two.records.write_many(writes)
    retirements = [Retirement(write.id, write.id, sets=SETS, ttl_seconds=1_000) for write in writes]
    assert await two.records.retire_many(retirements, two.shelf) == [Retired.RETIRED] * 3
    await two.records.write_many([record("kept"), record("own", ttl_seconds=100_000)])
    for id in ("kept", "own"):
        assert await two.records.retire_many([Retirement(id, id, sets=SETS)], two.shelf) == [Retired.RETIRED]
    now = time.time()
    ends = await two.shelf.read_expiries(["soon", "late", "never", "kept", "own"])
    left = [None if at_ms is None else at_ms / 1000 - now for at_ms in ends]
    assert left[3] is None
    seconds = [one for one in left if one is not None]
    assert [round(one, -2) for one in seconds] == [100, 1_000, 1_000, 100_000]


async def test_the_group_is_as_large_as_before(two: Two) -> None:
    group, key = group_name([b"a", None]), f"{two.name}:__lease"
    token = await two.engine.leases.acquire(key, "me", ttl_seconds=60)
    assert token is not None
    await two.records.write_many([record("old", threadId="a"), record("gone", threadId="a")])
    await two.records.correct_group(group, 2, fence=Fence(key, token))
    successor = record("new", threadId="a")
    assert await two.records.retire_many([Retirement("old", "old", sets=SETS, successor=successor)], two.shelf)
    assert (await two.records.read_group(group)) == (2, "new")
    await two.records.retire_many([Retirement("gone", "gone", sets=SETS)], two.shelf)
    assert (await two.records.read_group(group)).size == 1


@pytest.mark.parametrize("by", ["store", "change"])
async def test_of_many_who_replace_one_record_at_once_one_does(two: Two, by: str) -> None:
    workers = 8
    for turn in range(4):
        old = f"old{turn}"
        await two.records.write_many([record(old)])
        news = [f"new{turn}-{worker}" for worker in range(workers)]
        if by == "change":
            await two.records.write_many([record(new) for new in news])

        def retirement(new: str, old: str = old) -> Retirement:
            successor: RecordWrite | RecordChange = record(new)
            if by == "change":
                successor = RecordChange(new, unions={"supersedes": old.encode()})
            return Retirement(
                old,
                old,
                expected={"superseded_by": None},
                sets={"superseded_by": new.encode()},
                successor=successor,
            )

        outcomes = await asyncio.gather(*(two.records.retire_many([retirement(new)], two.shelf) for new in news))
        winners = [new for new, [outcome] in zip(news, outcomes, strict=True) if outcome is Retired.RETIRED]
        live, kept = await two.everything()
        assert len(winners) == 1
        assert old not in live
        assert kept[old]["superseded_by"].decode() == winners[0]
        if by == "store":
            assert [new for new in news if new in live] == winners
        else:
            assert [new for new in news if "supersedes" in live[new]] == winners


async def test_what_broke_off_in_between_is_finished_by_the_next_one(two: Two) -> None:
    # As a worker leaves it that was killed after it had copied the record.
    await two.records.write_many([record_of("old", SETS)])
    await two.records.write_many([record("new")])
    await two.shelf.write_many([record("old", content="as it was copied")])
    resumed = Retirement("old", "old", expected={"superseded_by": b"new"}, resumes=True)
    assert await two.records.retire_many([resumed], two.shelf) == [Retired.RETIRED]
    live, kept = await two.everything()
    assert sorted(live) == ["new"]
    assert kept["old"]["content"] == b"text of old"
    assert kept["old"]["superseded_by"] == b"new"


async def test_a_record_that_is_changed_while_it_leaves_is_kept_as_it_was_last(two: Two) -> None:
    await two.records.write_many([record("old")])

    class Changing:
        """The records, where somebody changes one right after it was copied."""

        def __init__(self, records: Records) -> None:
            self._records = records

        def __getattr__(self, name: str) -> object:
            return getattr(self._records, name)

        async def write_many(self, writes: list[RecordWrite]) -> list[Outcome]:
            written = await self._records.write_many(writes)
            if not self.changed:
                self.changed = True
                await two.records.change_many([RecordChange("old", sets={"source": b"late"}, revision_field="version")])
            return written

        changed = False

    shelf = Changing(two.shelf)
    retirement = Retirement("old", "old", expected={"version": None}, sets=SETS)
    retired = await retire_in_steps(two.records, [retirement], shelf)  # type: ignore[arg-type]
    assert retired == [Retired.RETIRED]
    assert shelf.changed
    live, kept = await two.everything()
    assert not live
    assert kept["old"]["source"] == b"late"


async def test_a_record_that_is_deleted_while_it_leaves_is_not_kept(two: Two) -> None:
    await two.records.write_many([record("old")])

    class Deleting:
        """The records, where somebody deletes one right after it was copied."""

        def __init__(self, records: Records) -> None:
            self._records = records

        def __getattr__(self, name: str) -> object:
            return getattr(self._records, name)

        async def write_many(self, writes: list[RecordWrite]) -> list[Outcome]:
            written = await self._records.write_many(writes)
            assert await two.records.delete_many(["old"]) == [True]
            return written

    retirement = Retirement("old", "old", sets=SETS)
    shelf = Deleting(two.shelf)
    assert await retire_in_steps(two.records, [retirement], shelf) == [Retired.RETIRED]  # type: ignore[arg-type]
    assert await two.everything() == ({}, {})
