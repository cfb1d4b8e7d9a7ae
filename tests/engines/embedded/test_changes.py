"""Changes and writes of records against a plain-Python oracle, and what only the file can get wrong."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Expiry, Newest, Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import Between, Equals, Filter, HasTag, Leaf, leading_number
from betterdb_agent_memory.errors import IndexMissingError, InvalidInputError
from tests.engines.embedded.conftest import Clock
from tests.engines.embedded.support import collection, encoded, record
from tests.engines.searching import nearest

CHANGED, MISSING, REFUSED, WRITTEN = Outcome.CHANGED, Outcome.MISSING, Outcome.REFUSED, Outcome.WRITTEN
IDS = ("a", "b")
FILLERS = [RecordWrite(f"filler {i}", {"vector": encoded([-1, -1])}) for i in range(10)]
"""Far from everything; a search goes by the coarse blocks only in a collection larger than what is asked for."""

WHOLE = re.compile(rb"[+-]?\d+")
texts = st.sampled_from([b"", b"x", b"y", b"x,y", b"z,x,x", b"1", b"2.5", b" 3 pieces", b"-4", b"1e3", b"nan"])
vectors = st.sampled_from([encoded([1, 0]), encoded([0, 1])])
names = st.sampled_from(["content", "note", "tags", "threadId", "access_count", "version"])
number_names = st.sampled_from(["note", "access_count", "importance", "version"])
some_fields = st.dictionaries(names, texts, max_size=3)
with_vector = st.builds(
    lambda fields, more: {**fields, **more}, some_fields, st.just({}) | st.fixed_dictionaries({"vector": vectors})
)
changes = st.builds(
    RecordChange,
    id=st.sampled_from(IDS),
    maxima=st.dictionaries(number_names, st.integers(-5, 5), max_size=1),
    increments=st.dictionaries(number_names, st.integers(-5, 5), max_size=1),
    expected=st.dictionaries(names, st.none() | texts, max_size=1)
    | st.fixed_dictionaries({"vector": st.none() | vectors}),
    sets=with_vector,
    removes=st.lists(names | st.just("vector"), max_size=1).map(tuple),
    raises=st.dictionaries(number_names, texts, max_size=1),
    unions=st.dictionaries(st.sampled_from(["note", "tags"]), texts, max_size=1),
    revision_field=st.none() | st.just("version"),
    expiry=st.none() | st.builds(Expiry, st.none() | st.integers(1, 40), st.booleans()),
    copies=st.just({}) | st.dictionaries(st.sampled_from(["kept", "threadId"]), names | st.just("vector"), max_size=1),
    newest=st.dictionaries(
        st.just("note"), st.builds(Newest, st.lists(st.integers(-5, 5), max_size=3).map(tuple), st.integers(1, 3))
    ),
)
writes = st.builds(
    lambda id, fields, expiry, change: RecordWrite(id, fields, expiry[0], expiry[1], if_exists=change),
    st.sampled_from(IDS),
    st.builds(lambda fields, more: {**fields, **more}, with_vector, st.just({}) | st.just({"content": b"text"})),
    st.tuples(st.none() | st.integers(1, 40), st.none()) | st.tuples(st.none(), st.integers(-50, 50)),
    st.none() | changes,
)
Batch = tuple[list[RecordWrite], list[RecordChange], int]
"""Writes, then changes, then seconds that pass."""

batches: st.SearchStrategy[list[Batch]] = st.lists(
    st.tuples(st.lists(writes, max_size=4), st.lists(changes, max_size=4), st.integers(0, 20)), max_size=4
)


def integer(stored: bytes | None, default: int = 0) -> int:
    """The integer that a stored text begins with."""
    text = (stored or b"").lstrip(b" ")
    for end in range(len(text), 0, -1):
        digits = text[1:end] if text[:1] in (b"+", b"-") else text[:end]
        if digits.isdigit():
            return int(text[:end])
    return default


def newest(stored: bytes, added: Newest) -> bytes:
    """The largest of the integers in `stored` and of those added."""
    there = [int(text) for text in stored.split(b",") if WHOLE.fullmatch(text)]
    return ",".join(map(str, sorted([*there, *added.numbers])[-added.most :])).encode()


class Model:
    """What the protocol says, on dictionaries. Times in seconds."""

    def __init__(self) -> None:
        self.now = 0
        self.records: dict[str, tuple[dict[str, bytes], float]] = {}

    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.records = {id: found for id, found in self.records.items() if found[1] > self.now}

    def write(self, write: RecordWrite) -> Outcome:
        if write.if_exists is not None and "content" in self.records.get(write.id, ({}, 0))[0]:
            return self.change(dataclasses.replace(write.if_exists, id=write.id))
        end = math.inf
        if write.ttl_seconds is not None:
            end = self.now + write.ttl_seconds
        elif write.expires_at_ms is not None:
            end = write.expires_at_ms
        self.records[write.id] = (dict(write.fields), end)
        self.pass_time(0)
        return WRITTEN

    def change(self, change: RecordChange) -> Outcome:
        before, end = self.records.get(change.id, ({}, 0))
        if "content" not in before:
            return MISSING
        as_expected = all(before.get(name) == value for name, value in change.expected.items())
        if not as_expected or not before.keys() >= set(change.copies.values()):
            return REFUSED
        between = before | dict(change.sets)
        after = {name: value for name, value in between.items() if name not in change.removes}
        counted = dict(after)
        for name, least in change.maxima.items():
            if integer(counted.get(name)) < least:
                counted[name] = str(least).encode()
        for name, amount in change.increments.items():
            counted[name] = str(integer(counted.get(name)) + amount).encode()
        different = before != between or between != after
        after = dict(counted)
        self._raise_and_unite(change, after)
        different = different or after != counted
        different = different or any(after.get(name) != before[source] for name, source in change.copies.items())
        after |= {name: before[source] for name, source in change.copies.items()}
        after |= {name: newest(after.get(name, b""), added) for name, added in change.newest.items()}
        former_end = end
        if change.expiry is not None:
            wanted_end = math.inf if change.expiry.ttl_seconds is None else self.now + change.expiry.ttl_seconds
            end = max(end, wanted_end) if change.expiry.only_later else wanted_end
        if change.revision_field is not None and (different or end != former_end):
            after[change.revision_field] = str(integer(after.get(change.revision_field), 1) + 1).encode()
        self.records[change.id] = (after, end)
        return CHANGED

    def _raise_and_unite(self, change: RecordChange, after: dict[str, bytes]) -> None:
        for name, value in change.raises.items():
            wanted, stored = leading_number(value), leading_number(after.get(name))
            if wanted is not None and wanted > (-math.inf if stored is None else stored):
                after[name] = value
        for name, value in change.unions.items():
            there = after.get(name) or b""
            new = [v for v in dict.fromkeys(value.split(b",")) if v and v not in there.split(b",")]
            if new:
                after[name] = b",".join(([there] if there else []) + new)


def timed(write: RecordWrite, start_ms: int) -> RecordWrite:
    """The write with its expiry in milliseconds since the epoch instead of seconds since the start."""
    if write.expires_at_ms is None:
        return write
    return dataclasses.replace(write, expires_at_ms=start_ms + write.expires_at_ms * 1000)


async def assert_agrees(records: EmbeddedRecords, model: Model, start_ms: int) -> None:
    """The file holds what the model holds, in every table that a search uses."""
    wholes = {id: fields for id, (fields, _) in model.records.items() if fields}
    assert await records.read_many(IDS, None) == [wholes.get(id) for id in IDS]
    ends = [model.records.get(id, ({}, math.inf))[1] for id in IDS]
    assert await records.read_expiries(IDS) == [None if math.isinf(end) else start_ms + int(end) * 1000 for end in ends]
    assert await records.count(Filter()) == len(model.records) + len(FILLERS)
    filters: list[Leaf] = [HasTag("tags", tag) for tag in ("", "x", "y", "z", "1")]
    filters += [Equals("threadId", text) for text in ("", "x", "1")]
    filters += [Between(name, low) for name in ("access_count", "importance") for low in (None, 0, 2)]
    for clause in filters:
        page = await records.select(Filter((clause,)), fields=[], limit=9)
        accepted = {id for id, (fields, _) in model.records.items() if clause.accepts(id, fields)}
        assert {row.id for row in page.rows} == accepted
    for direction in ([1, 0], [0, 1]):
        found = await nearest(records, encoded(direction), count=len(IDS), filter=Filter(), fields=[])
        assert len(found) == len(IDS)
        near = [row for row in found if row.id in IDS]
        assert {row.id for row in near} == {id for id, (f, _) in model.records.items() if "vector" in f}
        assert {row.id for row in near if row.distance == 0} == {
            id for id, (f, _) in model.records.items() if f.get("vector") == encoded(direction)
        }


@pytest.mark.parametrize("way", [0, 1_000_000], ids=["coarse", "one by one"])
@given(batches=batches)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_writes_and_changes_do_what_the_protocol_says(
    monkeypatch: pytest.MonkeyPatch, way: int, batches: list[Batch]
) -> None:
    from betterdb_agent_memory.engines.embedded import search

    monkeypatch.setattr(search, "SMALL_SCOPE", way)
    monkeypatch.setattr(search, "COARSE_GAIN", 1_000_000)
    clock = Clock()
    start_ms = int(clock.seconds * 1000)
    engine = EmbeddedEngine(clock=clock)
    records, model = engine.records(collection()), Model()
    await records.prepare(2)
    await records.write_many(FILLERS)
    try:
        for written, changed, seconds in batches:
            assert await records.write_many([timed(write, start_ms) for write in written]) == [
                model.write(write) for write in written
            ]
            assert await records.change_many(changed) == [model.change(change) for change in changed]
            await assert_agrees(records, model, start_ms)
            clock.seconds += seconds
            model.pass_time(seconds)
            await assert_agrees(records, model, start_ms)
    finally:
        await engine.close()


async def test_the_second_of_two_equal_writes_changes_the_first(records: EmbeddedRecords) -> None:
    reinforce = RecordChange("", increments={"access_count": 1}, unions={"tags": b"b"}, revision_field="version")
    twice = [dataclasses.replace(record("1", tags="a", access_count="0"), if_exists=reinforce)] * 3
    assert await records.write_many(twice) == [WRITTEN, CHANGED, CHANGED]
    assert await records.write_many(twice[:1]) == [CHANGED]
    names = ["tags", "access_count", "version"]
    assert await records.read_many(["1"], names) == [{"tags": b"a,b", "access_count": b"3", "version": b"2"}]
    assert await records.count(Filter((HasTag("tags", "b"),))) == 1


async def test_what_is_refused_names_no_new_record_and_takes_nothing_with_it(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", note="theirs")])
    stale = RecordChange("1", expected={"note": b"mine"}, sets={"note": b"new"})
    absent = RecordChange("1", expected={"note": None}, sets={"note": b"new"})
    assert await records.change_many([stale, absent, dataclasses.replace(stale, id="2")]) == [REFUSED, REFUSED, MISSING]
    written = await records.write_many([dataclasses.replace(record("1"), if_exists=stale), record("2")])
    assert written == [REFUSED, WRITTEN]
    assert await records.read_many(["1"], ["note"]) == [{"note": b"theirs"}]
    assert await records.delete_many(
        ["1", "1", "2", "3"], expected=[{"note": b"mine"}, {"note": b"theirs"}, {}, {"x": None}]
    ) == [
        False,
        True,
        True,
        False,
    ]
    with pytest.raises(InvalidInputError, match="2 ids came with 1"):
        await records.delete_many(["1", "2"], expected=[{}])


async def test_a_record_is_deleted_only_with_the_vector_that_was_expected(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", [1, 0])])
    assert await records.delete_many(["1"], expected=[{"vector": encoded([0, 1])}]) == [False]
    assert await records.delete_many(["1"], expected=[{"vector": None}]) == [False]
    assert await records.delete_many(["1"], expected=[{"vector": encoded([1, 0]), "note": None}]) == [True]


async def test_a_fragment_is_no_record_to_change(records: EmbeddedRecords) -> None:
    await records.write_many([RecordWrite("1", {"access_count": b"1"})])
    change = RecordChange("1", increments={"access_count": 1})
    assert await records.change_many([change]) == [MISSING]
    assert await records.read_many(["1"], None) == [{"access_count": b"1"}]
    assert await records.write_many([dataclasses.replace(record("1"), if_exists=change)]) == [WRITTEN]
    assert await records.change_many([RecordChange("1", removes=("content",)), change]) == [CHANGED, MISSING]


async def test_what_cannot_be_changed_is_refused_and_nothing_is_written(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", note="x")])
    good = RecordChange("1", sets={"note": b"y"})
    for bad, match in (
        (RecordChange("1", sets={"vector": encoded([1, 2, 3])}), "'1' has 12 bytes.*2 dimensions: 8 bytes"),
        (RecordChange("1", unions={"vector": b"x"}), "vector"),
        (RecordChange("1", raises={"vector": b"1"}), "not a number"),
        (RecordChange("1", increments={"tags": 1}), "not a number"),
        (RecordChange("1", newest={"tags": Newest((1,), 4)}), "not a number"),
        (RecordChange("1", copies={"vector": "note"}), "copied to its vector"),
        (RecordChange("1", expiry=Expiry(0)), "ttl_seconds"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            await records.change_many([good, bad])
        with pytest.raises(InvalidInputError, match=match):
            await records.write_many([record("2"), dataclasses.replace(record("1"), if_exists=bad)])
    assert await records.read_many(["1", "2"], ["note"]) == [{"note": b"x"}, None]


async def test_an_empty_change_leaves_the_record_as_it_is(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", note="x", ttl_seconds=9)])
    [expires] = await records.read_expiries(["1"])
    keep = RecordWrite("1", {"content": b"other"}, if_exists=RecordChange("1"))
    assert await records.write_many([keep]) == [CHANGED]
    assert await records.read_many(["1"], ["content", "note"]) == [{"content": b"text", "note": b"x"}]
    assert await records.read_expiries(["1", "2"]) == [expires, None]


async def test_lifetimes_are_told_to_the_last_millisecond(records: EmbeddedRecords, clock: Clock) -> None:
    now_ms = int(clock.seconds * 1000)
    await records.write_many([dataclasses.replace(record("1"), expires_at_ms=now_ms + 500), record("2")])
    assert await records.read_lifetimes(["2", "1", "gone", "1"]) == [math.inf, 499, 0, 499]
    clock.seconds += 0.6
    assert await records.read_lifetimes(["1", "2"]) == [0, math.inf]


async def test_a_past_expiry_leaves_nothing_behind(records: EmbeddedRecords, clock: Clock) -> None:
    now_ms = int(clock.seconds * 1000)
    await records.write_many([record("1", tags="a"), record("2", tags="a")])
    gone = dataclasses.replace(record("1", tags="a"), expires_at_ms=now_ms)
    assert await records.write_many([gone, dataclasses.replace(gone, id="3")]) == [WRITTEN, WRITTEN]
    assert await records.count(Filter((HasTag("tags", "a"),))) == 1
    counts = await records._database.read(
        lambda c: [
            c.execute(f"SELECT count(*) FROM {t}_1").fetchall()[0][0] for t in ("record", "body", "vector", "tag")
        ]
    )
    assert counts == [1, 1, 1, 1]
    later = dataclasses.replace(gone, expires_at_ms=2**80)
    assert await records.write_many([later]) == [WRITTEN]
    assert await records.read_expiries(["1"]) == [2**63 - 1]


async def test_nothing_can_be_changed_before_prepare(engine: EmbeddedEngine) -> None:
    records = engine.records(collection())
    assert await records.change_many([RecordChange("1", sets={"x": b""})]) == [MISSING]
    assert await records.read_expiries(["1"]) == [None]
    assert await records.read_lifetimes(["1"]) == [0]
    assert await records.read_many(["1"], None) == [None]
    assert await records.delete_many(["1"], expected=[{}]) == [False]
    assert [page async for page in records.scan([])] == []
    with pytest.raises(IndexMissingError):
        await anext(records.walk(Filter(), fields=[]))
