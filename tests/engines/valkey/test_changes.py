"""Changes of records against what they say they do, told in plain Python."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import valkey.asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Expiry, Newest, Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.engines.filters import leading_number
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import EngineError, InvalidInputError
from tests.engines.valkey.samples import CREATED_AT_MS, collection, record, record_of, vector
from tests.servers import ValkeyServer

_INTEGER = re.compile(rb"\s*([+-]?\d+)")


def integer(stored: bytes | None, missing: int = 0) -> int:
    match = _INTEGER.match(stored or b"")
    return int(match[1]) if match else missing


def changed(  # noqa: C901 - one step for each thing a change can say
    before: dict[str, bytes], change: RecordChange
) -> tuple[Outcome, dict[str, bytes]]:
    """What `change` makes of the fields of a record."""
    if "content" not in before:
        return Outcome.MISSING, before
    if any(before.get(field) != value for field, value in change.expected.items()):
        return Outcome.REFUSED, before
    if not before.keys() >= set(change.copies.values()):
        return Outcome.REFUSED, before
    fields = {**before, **change.sets}
    fields = {field: value for field, value in fields.items() if field not in change.removes}
    revised = fields != before
    for field, source in change.copies.items():
        revised = revised or fields.get(field) != before[source]
        fields[field] = before[source]
    for field, (numbers, most) in change.newest.items():
        there = [int(text) for text in fields.get(field, b"").split(b",") if re.fullmatch(rb"[+-]?\d+", text)]
        fields[field] = ",".join(map(str, sorted([*there, *numbers])[-most:])).encode()
    for field, value in change.maxima.items():
        if value > integer(fields.get(field)):
            fields[field] = str(value).encode()
    for field, value in change.increments.items():
        fields[field] = str(integer(fields.get(field)) + value).encode()
    for field, text in change.raises.items():
        stored, number = leading_number(fields.get(field)), leading_number(text)
        if number is not None and number > (-math.inf if stored is None else stored):
            fields[field] = text
            revised = True
    for field, joined in change.unions.items():
        values = fields[field].split(b",") if fields.get(field) else []
        missing = [value for value in dict.fromkeys(joined.split(b",")) if value and value not in values]
        if missing:
            fields[field] = b",".join([*values, *missing])
            revised = True
    if revised and change.revision_field is not None:
        fields[change.revision_field] = str(integer(fields.get(change.revision_field), missing=1) + 1).encode()
    return Outcome.CHANGED, fields


NUMBERS = [
    b"0",
    b"5",
    b"-2",
    b"0.5",
    b" 7 apples",
    b"none",
    b"",
    b"1e3",
    b".5",
    b"5.",
    b"+3",
    b"1749308800123",
    b"\xff",
]
TEXTS = [b"x", b"", b"a,b", b"\xff\0,", b"x,x"]
TIMES = [b"", b"5", b"-3,5,5,9", b"3,x,1.5,4 ,2", b"1749308800123,1749308800124", b"\xff,+7"]
CSV = [b"a", b"b", b"a,b", b"", b",", b"c,a,,c", b"\xff,\0", b" a"]
number_fields, text_fields = st.sampled_from(["n1", "n2"]), st.sampled_from(["t1", "t2"])

hashes = st.fixed_dictionaries(
    {},
    optional={
        "content": st.sampled_from(TEXTS),
        "n1": st.sampled_from(NUMBERS),
        "n2": st.sampled_from(NUMBERS),
        "i1": st.sampled_from(NUMBERS),
        "i2": st.sampled_from(NUMBERS),
        "c1": st.sampled_from(CSV),
        "t1": st.sampled_from(TEXTS),
        "t2": st.sampled_from(TEXTS),
        "l1": st.sampled_from(TIMES),
        "version": st.sampled_from([b"1", b"41", b"odd"]),
    },
).filter(bool)
integers = st.integers(-(2**50), 2**50)
changes = st.builds(
    RecordChange,
    id=st.just("1"),
    expected=st.dictionaries(text_fields, st.sampled_from(TEXTS) | st.none(), max_size=1),
    sets=st.dictionaries(st.sampled_from(["t1", "date"]), st.sampled_from(TEXTS)),
    removes=st.lists(st.sampled_from(["t2", "source"]), unique=True).map(tuple),
    maxima=st.dictionaries(st.just("i1"), integers),
    increments=st.dictionaries(st.just("i2"), integers),
    raises=st.dictionaries(number_fields, st.sampled_from(NUMBERS)),
    unions=st.dictionaries(st.just("c1"), st.sampled_from(CSV)),
    revision_field=st.sampled_from(["version", None]),
    copies=st.just({}) | st.dictionaries(st.sampled_from(["k1", "k2"]), st.sampled_from(["t1", "t2", "n1"])),
    newest=st.dictionaries(
        st.just("l1"), st.builds(Newest, st.lists(integers, max_size=5).map(tuple), st.integers(1, 5))
    ),
)


@pytest.fixture(scope="module")
def served(valkey_server: ValkeyServer) -> Iterator[tuple[asyncio.Runner, ValkeyEngine, ValkeyRecords, str]]:
    name = f"c{uuid4().hex}"
    with asyncio.Runner() as runner:
        engine = ValkeyEngine.from_url(valkey_server.url)
        yield runner, engine, engine.records(collection(name)), f"{name}:mem:1"
        runner.run(engine.close())


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=hashes, change=changes, as_write=st.booleans())
@example(
    {"content": b"x", "n1": b"0.3", "l1": b"1,3"},
    RecordChange(
        "1",
        sets={"n1": b"1"},
        revision_field="version",
        copies={"k1": "n1"},
        newest={"l1": Newest((2, 9), 3)},
    ),
    False,
)
@example({"content": b"x", "n1": b"0.5"}, RecordChange("1", raises={"n1": b"0.50"}, revision_field="version"), False)
@example({"content": b"x"}, RecordChange("1", maxima={"i1": 2**50}, increments={"i2": 1}), False)
@example({"content": b"x", "c1": b"a,b"}, RecordChange("1", unions={"c1": b"b,c"}, revision_field="version"), True)
def test_a_change_does_what_it_says_in_one_step(
    served: tuple[asyncio.Runner, ValkeyEngine, ValkeyRecords, str],
    before: dict[str, bytes],
    change: RecordChange,
    as_write: bool,
) -> None:
    runner, engine, records, key = served
    new = RecordWrite("1", {"content": b"new", "n1": b"9"}, if_exists=change)

    async def apply() -> tuple[Outcome, dict[str, bytes]]:
        await engine.values.delete(key)
        await engine.values.write_map(key, before)
        [outcome] = await (records.write_many([new]) if as_write else records.change_many([change]))
        return outcome, await engine.values.read_map(key)

    expected, after = changed(before, change)
    if as_write and expected is Outcome.MISSING:
        expected, after = Outcome.WRITTEN, dict(new.fields)
    assert runner.run(apply()) == (expected, after)


async def test_what_is_expected_decides_between_two_who_change_at_once(records: ValkeyRecords) -> None:
    await records.write_many([record("1", version="1")])
    outcomes = await asyncio.gather(
        *(
            records.change_many(
                [
                    RecordChange(
                        "1", expected={"version": b"1"}, sets={"content": f"{n}".encode()}, revision_field="version"
                    )
                ]
            )
            for n in range(10)
        )
    )
    assert sorted(outcome for [outcome] in outcomes) == [Outcome.CHANGED] + [Outcome.REFUSED] * 9
    winner = outcomes.index([Outcome.CHANGED])
    assert await records.read_many(["1"], ["content", "version"]) == [
        {"content": str(winner).encode(), "version": b"2"}
    ]


@pytest.mark.parametrize(
    ("ttl_before", "expiry", "ttl_after"),
    [
        (100, None, 100),
        (100, Expiry(500), 500),
        (100, Expiry(7), 7),
        (100, Expiry(None), -1),
        (None, Expiry(60), 60),
        (100, Expiry(500, only_later=True), 500),
        (100, Expiry(7, only_later=True), 100),
        (100, Expiry(None, only_later=True), -1),
        (None, Expiry(60, only_later=True), -1),
        (None, Expiry(None), -1),
    ],
)
async def test_an_expiry_is_set_or_only_moved_out(
    records: ValkeyRecords,
    valkey_client: valkey.asyncio.Valkey,
    store_name: str,
    ttl_before: int | None,
    expiry: Expiry | None,
    ttl_after: int,
) -> None:
    for as_write in (False, True):
        await records.write_many([record("1", ttl_seconds=ttl_before)])
        change = RecordChange("1", sets={"source": b"s"}, expiry=expiry)
        if as_write:
            write = RecordWrite("1", {"content": b"x"}, ttl_seconds=3, if_exists=change)
            assert await records.write_many([write]) == [Outcome.CHANGED]
        else:
            assert await records.change_many([change]) == [Outcome.CHANGED]
        assert ttl_after - 2 <= await valkey_client.ttl(f"{store_name}:mem:1") <= ttl_after
        assert await records.read_many(["1"], ["source"]) == [{"source": b"s"}]


async def test_a_refused_change_leaves_the_expiry_alone(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await records.write_many([record("1", ttl_seconds=100)])
    change = RecordChange("1", expected={"content": b"other"}, expiry=Expiry(7))
    assert await records.change_many([change, RecordChange("gone", expiry=Expiry(7))]) == [
        Outcome.REFUSED,
        Outcome.MISSING,
    ]
    assert await valkey_client.ttl(f"{store_name}:mem:1") > 90


async def test_a_bad_expiry_is_refused_before_anything_is_sent(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    bad = RecordChange("1", expiry=Expiry(0))
    before = engine.round_trips
    with pytest.raises(InvalidInputError):
        await records.change_many([RecordChange("1", increments={"access_count": 1}), bad])
    with pytest.raises(InvalidInputError):
        await records.write_many([RecordWrite("1", {"content": b"x"}, if_exists=bad)])
    assert engine.round_trips == before


async def test_all_sets_of_a_change_are_one_write_of_the_index(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    while (await records.inspect()).indexing:  # noqa: ASYNC110 - the server tells no other way
        await asyncio.sleep(0.01)
    await records.write_many([record("1", tags="a")])

    async def last_document() -> int:
        info = await valkey_client.execute_command("FT.INFO", f"{store_name}:mem:idx")
        return int(info[info.index(b"max_doc_id") + 1])

    before = await last_document()
    change = RecordChange(
        "1",
        sets={"content": b"new", "vector": vector(0, 1, 0, 0)},
        maxima={"last_accessed_at": CREATED_AT_MS + 9},
        increments={"access_count": 1},
        raises={"importance": b"0.9"},
        unions={"tags": b"b"},
        revision_field="version",
    )
    await records.change_many([change])
    assert await last_document() - before == 1
    unchanged = RecordChange("1", sets={"content": b"new"}, raises={"importance": b"0.1"}, unions={"tags": b"b"})
    await records.change_many([unchanged])
    assert await last_document() - before == 1


async def test_deleting_only_what_is_as_expected(records: ValkeyRecords, engine: ValkeyEngine) -> None:
    await records.write_many([record(id, version="3") for id in "abc"])
    before = engine.round_trips
    deleted = await records.delete_many(
        ["a", "b", "gone", "x:y", "c", "c"],
        expected=[
            {"version": b"3", "source": None},
            {"version": b"4"},
            {"version": None},
            {},
            {},
            {},
        ],
    )
    assert deleted == [True, False, False, False, True, False]
    assert engine.round_trips - before <= 2
    assert [fields is not None for fields in await records.read_many(["a", "b", "c"], ["content"])] == [
        False,
        True,
        False,
    ]
    with pytest.raises(InvalidInputError):
        await records.delete_many(["a", "b"], expected=[{}])


async def test_a_key_that_is_no_hash_fails_alone(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await valkey_client.set(f"{store_name}:mem:2", "text")
    with pytest.raises(EngineError, match="wrong kind"):
        await records.change_many([RecordChange("2", increments={"access_count": 1})])
    with pytest.raises(EngineError, match="wrong kind"):
        await records.delete_many(["2"], expected=[{"content": b"x"}])
    assert await valkey_client.get(f"{store_name}:mem:2") == b"text"


async def test_the_write_that_comes_later_in_a_batch_wins_even_on_a_server_without_the_scripts(
    records: ValkeyRecords, forget_scripts: Callable[[], None]
) -> None:
    for _ in range(2):
        forget_scripts()
        await records.delete_many(["1"])
        outcomes = await records.write_many(
            [
                record_of("1", {"content": "first"}),
                RecordWrite("1", {"content": b"second"}, if_exists=RecordChange("1", increments={"access_count": 1})),
                record_of("other", {}),
                RecordWrite("1", {"content": b"third"}, if_exists=RecordChange("1", expected={"content": b"zero"})),
            ]
        )
        assert outcomes == [Outcome.WRITTEN, Outcome.CHANGED, Outcome.WRITTEN, Outcome.REFUSED]
        assert await records.read_many(["1"], ["content", "access_count"]) == [
            {"content": b"first", "access_count": b"1"}
        ]
    forget_scripts()
    await records.write_many([record("2"), RecordWrite("2", {"content": b"last"}, is_new=True)])
    assert await records.read_many(["2"], ["content"]) == [{"content": b"last"}]
