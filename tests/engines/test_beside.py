"""What is checked and kept beside a record in the step that writes it: fences, counts of groups, a counter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Counter, Engine, Fence, Outcome, RecordChange, Records
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.groups import group_name, is_total_absence
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.errors import LeaseLostError
from tests.engines.valkey.samples import collection, record
from tests.servers import ValkeyServer


class _ApartClient(ValkeyClient):
    """As on a cluster whose keys all lie in different slots: no script touches two of them."""

    def are_together(self, *keys: str) -> bool:
        return len(set(keys)) < 2


@dataclass
class Watcher:
    """Wants groups counted, and remembers what it was told."""

    is_on: bool = True
    told: list[tuple[str, int | None]] = field(default_factory=list)

    def counted(self, group: str, size: int | None) -> None:
        self.told.append((group, size))


@pytest.fixture(params=["file", "server", "apart", "decoding"])
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


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
async def records(engine: Engine, watcher: Watcher, store_name: str) -> Records:
    counted = replace(
        collection(store_name), group_fields=("threadId", "agentId", "namespace"), counts_key=f"{store_name}:__counts"
    )
    records = engine.records(counted, watcher)
    await records.prepare(4)
    return records


async def fence(engine: Engine, store_name: str, owner: str = "first") -> Fence:
    key = f"{store_name}:__lease"
    token = await engine.leases.acquire(key, owner, ttl_seconds=60)
    assert token is not None
    return Fence(key, token)


async def taken_over(engine: Engine, store_name: str) -> tuple[Fence, Fence]:
    """The fence of one whose lease has passed on, and that of its successor."""
    late = await fence(engine, store_name)
    assert await engine.leases.release(late.key, "first")
    return late, await fence(engine, store_name, "second")


A, B = group_name([b"a", None, None]), group_name([b"b", b"x", None])


async def test_a_write_under_a_lease_that_was_not_taken_over_happens(
    engine: Engine, records: Records, store_name: str
) -> None:
    held = await fence(engine, store_name)
    assert await records.write_many([record("r", threadId="a")], fence=held) == [Outcome.WRITTEN]
    # Over, but nobody took it since.
    assert await engine.leases.release(held.key, "first")
    assert await records.change_many([RecordChange("r", sets={"source": b"s"})], fence=held) == [Outcome.CHANGED]
    assert await records.delete_many(["r", "none"], fence=held) == [True, False]


async def test_whoever_comes_too_late_changes_nothing(
    engine: Engine, records: Records, place: str, store_name: str
) -> None:
    late, present = await taken_over(engine, store_name)
    await records.write_many([record("r", threadId="a"), record("s", threadId="a")], fence=present)
    before = await records.read_many(["r", "s"], None)
    with pytest.raises(LeaseLostError, match="somebody else has taken the lease") as refused:
        await records.write_many([record("r", content="late")], fence=late)
    assert refused.value.done == ()
    with pytest.raises(LeaseLostError):
        await records.write_many(
            [replace(record("s"), if_exists=RecordChange("s", sets={"content": b"late"}))], fence=late
        )
    with pytest.raises(LeaseLostError):
        await records.change_many([RecordChange("r", sets={"content": b"late"})], fence=late)
    with pytest.raises(LeaseLostError):
        await records.delete_many(["r", "s"], fence=late, counter=Counter(f"{store_name}:__stats", "evictions"))
    with pytest.raises(LeaseLostError):
        await records.correct_group(A, 5, fence=late)
    assert await records.read_many(["r", "s"], None) == before
    assert await engine.values.read_map(f"{store_name}:__stats") == {}
    assert (await records.read_group(A)).size is None
    if place != "apart":  # there a record that the successor has not touched knows nothing of it
        with pytest.raises(LeaseLostError):
            await records.write_many([record("new")], fence=late)
        assert await records.read_many(["new"], None) == [None]


async def test_a_map_is_written_under_a_lease_or_not_at_all(engine: Engine, store_name: str) -> None:
    late, present = await taken_over(engine, store_name)
    key = f"{store_name}:__state"
    await engine.leases.write_map(present, key, {"phase": b"ready", "other": b"x"})
    with pytest.raises(LeaseLostError):
        await engine.leases.write_map(late, key, {"phase": b"filling"})
    assert await engine.values.read_map(key) == {"phase": b"ready", "other": b"x"}


async def test_the_successor_overtakes_records_of_the_one_before(
    engine: Engine, records: Records, store_name: str
) -> None:
    first = await fence(engine, store_name)
    await records.write_many([record("r", threadId="a")], fence=first)
    await engine.leases.release(first.key, "first")
    second = await fence(engine, store_name, "second")
    assert await records.change_many([RecordChange("r", sets={"content": b"next"})], fence=second) == [Outcome.CHANGED]
    with pytest.raises(LeaseLostError):
        await records.change_many([RecordChange("r", sets={"content": b"late"})], fence=first)
    assert await records.read_many(["r"], ("content",)) == [{"content": b"next"}]


@pytest.mark.parametrize("place", ["apart"])
async def test_what_was_done_before_the_lease_passed_on_is_named(
    engine: Engine, records: Records, store_name: str
) -> None:
    held = await fence(engine, store_name)
    ids = [f"r{number}" for number in range(3)]
    await records.write_many([record(id) for id in ids], fence=held)
    # As if it passed on within the batch: records that the successor has come to first.
    await engine.leases.release(held.key, "first")
    second = await fence(engine, store_name, "second")
    await records.change_many([RecordChange("r1", sets={"source": b"s"})], fence=second)
    with pytest.raises(LeaseLostError) as refused:
        await records.delete_many(ids, fence=held)
    assert refused.value.done == ("r0", "r2")
    assert [row is None for row in await records.read_many(ids, None)] == [True, False, True]


async def test_groups_that_nobody_counts_cost_nothing_and_stay_uncounted(
    engine: Engine, records: Records, watcher: Watcher
) -> None:
    await records.write_many([record("r", threadId="a")])
    assert watcher.told == [(A, None)]
    assert await records.read_group(A) == (None, "r")
    watcher.is_on = False
    await records.write_many([record("s", threadId="a")])
    assert watcher.told == [(A, None)]
    assert await records.read_group(A) == (None, "r")


async def test_a_count_follows_what_is_written_changed_and_deleted(
    engine: Engine, records: Records, watcher: Watcher, store_name: str
) -> None:
    held = await fence(engine, store_name)
    for group in (A, B):
        await records.correct_group(group, 0, fence=held)

    async def counts() -> tuple[int | None, int | None]:
        return (await records.read_group(A)).size, (await records.read_group(B)).size

    await records.write_many([record(f"r{number}", threadId="a") for number in range(3)])
    assert await counts() == (3, 0)
    assert watcher.told[-1] == (A, 3)
    assert (await records.read_group(A)).last_id == "r2"
    # Written again it is no further one, but it is the last.
    await records.write_many([record("r0", threadId="a")])
    assert await counts() == (3, 0)
    assert (await records.read_group(A)).last_id == "r0"
    # Replaced by one of another group, or changed into one, it moves.
    await records.write_many([record("r0", threadId="b", agentId="x")])
    assert await counts() == (2, 1)
    await records.change_many([RecordChange("r1", sets={"threadId": b"b", "agentId": b"x"})])
    assert await counts() == (1, 2)
    await records.change_many([RecordChange("r1", sets={"source": b"s"}), RecordChange("gone", removes=("threadId",))])
    assert await counts() == (1, 2)
    await records.change_many([RecordChange("r1", removes=("agentId",))])
    assert await counts() == (1, 1)
    # A merge into one that is there changes no count, and one into nothing does.
    merge = RecordChange("r2", increments={"access_count": 1})
    await records.write_many([replace(record("r2", threadId="a"), if_exists=merge)])
    await records.write_many([replace(record("r3", threadId="a"), if_exists=replace(merge, id="r3"))])
    assert await counts() == (2, 1)
    assert (await records.read_group(A)).last_id == "r3"
    # One that has expired before it is written leaves nothing, and so does one that is not there.
    await records.write_many([record("r4", threadId="a", expires_at_ms=1_000)])
    assert await records.delete_many(["r4", "nobody"]) == [False, False]
    assert await counts() == (2, 1)
    assert await records.delete_many(["r2"], expected=[{"source": b"other"}]) == [False]
    assert await counts() == (2, 1)
    # Nothing is kept of a group that nobody is in.
    assert await records.delete_many(["r2", "r3", "r3"]) == [True, True, False]
    assert await records.read_group(A) == (None, None)
    assert await records.read_group(B) == (1, "r1")


@pytest.fixture
async def by_tags(engine: Engine, watcher: Watcher, store_name: str) -> Records:
    """Records whose groups are a thread and a set of tags, the group of thread `a` and tag `x` counted."""
    counted = replace(
        collection(store_name), group_fields=("threadId", "tags"), group_sets=1, counts_key=f"{store_name}:__counts"
    )
    records = engine.records(counted, watcher)
    await records.prepare(4)
    held = await fence(engine, store_name)
    for tags in (b"x", b"x,y", None):
        await records.correct_group(group_name([b"a", tags]), 0, fence=held)
    return records


async def test_a_group_of_tags_is_the_set_of_them(by_tags: Records, watcher: Watcher) -> None:
    spelt = [("x", "x"), ("x,x", "x"), ("y,x", "x,y"), ("x,y,x", "x,y"), ("", None), ("Z,é,a", "Z,a,é"), (",x,", ",x")]
    for number, (stored, name) in enumerate(spelt):
        await by_tags.write_many([record(f"r{number}", threadId="a", tags=stored)])
        group = group_name([b"a", None if name is None else name.encode()])
        assert watcher.told[-1][0] == group
        assert (await by_tags.read_group(group)).last_id == f"r{number}"
    sizes = [(await by_tags.read_group(group_name([b"a", tags]))).size for tags in (b"x", b"x,y", None, b",x")]
    assert sizes == [2, 2, 1, None]


async def test_a_record_whose_tags_change_is_of_another_group_and_somebody_is_told(
    by_tags: Records, watcher: Watcher
) -> None:
    x, xy, none = (group_name([b"a", tags]) for tags in (b"x", b"x,y", None))

    async def counts() -> list[int | None]:
        return [(await by_tags.read_group(group)).size for group in (x, xy, none)]

    await by_tags.write_many([record(f"r{number}", threadId="a", tags="x") for number in range(4)])
    watcher.told.clear()
    await by_tags.change_many([RecordChange("r0", unions={"tags": b"y,x"})])
    assert await counts() == [3, 1, 0]
    assert watcher.told.pop() == (xy, 1)
    await by_tags.change_many([RecordChange("r1", removes=("tags",)), RecordChange("r2", sets={"tags": b"y,x"})])
    assert await counts() == [1, 2, 1]
    assert sorted(watcher.told) == sorted([(none, 1), (xy, 2)])
    # One that adds tags to what is there, and the same tags in another order, which is no change of group.
    merge = RecordChange("r3", unions={"tags": b"y"})
    await by_tags.write_many([replace(record("r3", threadId="a", tags="y"), if_exists=merge)])
    assert await counts() == [None, 3, 1]
    assert watcher.told[-1] == (xy, 3)
    await by_tags.change_many([RecordChange("r0", sets={"tags": b"y,x,y"})])
    assert (await counts())[1] == 3
    assert (await by_tags.read_group(xy)).last_id == "r3"
    await by_tags.delete_many(["r2"])
    assert (await counts())[1] == 2


async def test_a_later_write_of_a_batch_sees_the_earlier_one(engine: Engine, records: Records, store_name: str) -> None:
    held = await fence(engine, store_name)
    for group in (A, B):
        await records.correct_group(group, 0, fence=held)
    await records.write_many(
        [
            record("r", threadId="a"),
            record("r", threadId="a"),
            record("s", threadId="a"),
            record("s", threadId="b", agentId="x"),
        ]
    )
    assert (await records.read_group(A)).size == 1
    assert await records.read_group(B) == (1, "s")


async def test_corrections_add_up(records: Records, engine: Engine, store_name: str) -> None:
    held = await fence(engine, store_name)
    await records.correct_group(A, 7, fence=held)
    await records.correct_group(A, -3, fence=held)
    assert await records.read_group(A) == (4, None)


async def test_a_counter_goes_up_with_each_record_that_is_deleted(
    engine: Engine, records: Records, store_name: str
) -> None:
    counter = Counter(f"{store_name}:__stats", "evictions")
    await engine.values.write_map(counter.key, {"evictions": b"5"})
    await records.write_many([record(f"r{number}") for number in range(3)])
    assert await records.delete_many(["r0", "r1", "none", "r1"], counter=counter) == [True, True, False, False]
    assert await engine.values.read_map(counter.key) == {"evictions": b"7"}


VALUES = st.lists(st.one_of(st.none(), st.text(alphabet="a1:-@é", max_size=3).map(str.encode)), min_size=3, max_size=3)


@given(one=VALUES, other=VALUES)
def test_no_two_groups_share_a_name(one: list[bytes | None], other: list[bytes | None]) -> None:
    assert (group_name(one) == group_name(other)) == (one == other)
    assert is_total_absence(group_name(one)) == (one == [None, None, None])
    assert not group_name(one).startswith("@")
