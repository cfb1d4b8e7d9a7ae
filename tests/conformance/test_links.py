"""Links between records: the same on every engine."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Engine, LinkedRecords, RecordChange, RecordWrite
from betterdb_agent_memory.engines.links import (
    HALF_LIFE_MS,
    MAX_LINKS,
    LinkChange,
    LinkReach,
    Strength,
    decode_strength,
    ends_in,
    is_gone,
    left_ms,
    score_of,
    sum_of_scores,
    weight_of,
)
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.memory.record import memory_collection

NOW_MS = 1_750_000_000_000
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS


def of(weight: float, at_ms: int = NOW_MS) -> Strength:
    return Strength(score_of(weight, at_ms), at_ms)


class Place:
    """Records and the links between them."""

    def __init__(self, engine: Engine, name: str) -> None:
        collection = memory_collection(name)
        self.values: Values = engine.values
        self.records = engine.records(collection)
        self.links = engine.links(LinkedRecords.of(collection))

    async def write(self, *ids: str, ttl_seconds: int | None = None) -> None:
        fields = {"content": b"x", "created_at": b"1", "importance": b"0.5"}
        await self.records.write_many([RecordWrite(id, fields, ttl_seconds) for id in ids])

    async def weights(self, id: str, now_ms: int = NOW_MS) -> dict[str, float]:
        [ends] = await self.links.neighbours([id], now_ms=now_ms)
        return {end.id: round(end.weight, 9) for end in ends}


@pytest.fixture
async def place(engine: Engine, store_name: str) -> Place:
    made = Place(engine, store_name)
    await made.records.prepare(4)
    return made


@given(
    st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(0, 3 * 365)), min_size=1, max_size=30), st.integers(0, 60_000)
)
def test_forward_decay_is_decay_at_read(gains: list[tuple[float, int]], later_days: int) -> None:
    """Also after 160 years."""
    read_at = NOW_MS + (3 * 365 + later_days) * DAY_MS
    score = -math.inf
    for weight, day in gains:
        score = sum_of_scores(score, score_of(weight, NOW_MS + day * DAY_MS))
    explicit = math.fsum(weight * 2 ** (-(read_at - NOW_MS - day * DAY_MS) / HALF_LIFE_MS) for weight, day in gains)
    assert weight_of(score, read_at) == pytest.approx(explicit, rel=1e-9)


@given(st.floats(1e-6, 1e12), st.integers(0, 10**14))
def test_what_is_stored_is_read_back_exactly(weight: float, at_ms: int) -> None:
    strength = of(weight, at_ms)
    assert decode_strength(strength.encode()) == strength
    left = left_ms(strength.score, at_ms)
    assert is_gone(strength.score, at_ms + left + 2)
    assert left < 2 or not is_gone(strength.score, at_ms + left - 2)


def test_the_strongest_comes_first_and_equal_ones_by_id() -> None:
    stored = {id: of(weight).encode() for id, weight in (("c", 1.0), ("b", 2.0), ("a", 1.0), ("gone", 0.001))}
    assert [end.id for end in ends_in(stored, NOW_MS)] == ["b", "a", "c"]
    assert [end.id for end in ends_in(stored, NOW_MS, least_weight=1.5)] == ["b"]


async def test_a_link_is_known_to_both_ends_gains_and_fades(place: Place) -> None:
    await place.write("a", "b", "c")
    changes = [LinkChange("a", "b", of(0.5)), LinkChange("b", "a", of(0.25)), LinkChange("c", "a", of(0.1))]
    assert await place.links.strengthen(changes, now_ms=NOW_MS) == [True, True, True]
    assert await place.weights("a") == {"b": 0.75, "c": 0.1}
    assert await place.weights("b") == {"a": 0.75}
    later = NOW_MS + HALF_LIFE_MS
    assert await place.weights("b", later) == {"a": 0.375}
    await place.links.strengthen([LinkChange("a", "b", of(1.0, later))], now_ms=later)
    assert await place.weights("b", later) == {"a": 1.375}
    [[end]] = await place.links.neighbours(["b"], now_ms=later)
    assert end.since_ms == NOW_MS
    assert await place.links.put([LinkChange("b", "a", of(0.2, later))], now_ms=later) == [True]
    assert await place.weights("a", later) == {"b": 0.2, "c": 0.05}
    assert await place.links.remove([("a", "b"), ("a", "b"), ("b", "c")]) == [True, False, False]
    assert await place.weights("a", later) == {"c": 0.05}
    assert await place.weights("a", later + 30 * YEAR_MS) == {}


async def test_a_faded_link_does_not_add(place: Place) -> None:
    await place.write("a", "b")
    await place.links.put([LinkChange("a", "b", of(1.0))], now_ms=NOW_MS)
    later = NOW_MS + 7 * HALF_LIFE_MS
    await place.links.strengthen([LinkChange("a", "b", of(0.5, later))], now_ms=later)
    [[end]] = await place.links.neighbours(["a"], now_ms=later)
    assert end.weight == pytest.approx(0.5, rel=1e-9)
    assert end.since_ms == later


async def test_two_workers_lose_nothing(place: Place) -> None:
    await place.write("a", "b", "c")

    async def work(one: str, other: str) -> None:
        for _ in range(20):
            await place.links.strengthen([LinkChange(one, other, of(0.01))], now_ms=NOW_MS)

    await asyncio.gather(work("a", "b"), work("b", "a"), work("b", "c"))
    assert await place.weights("b") == {"a": 0.4, "c": 0.2}


async def test_the_strongest_stay(place: Place) -> None:
    ids = [f"m{number}" for number in range(MAX_LINKS + 8)]
    await place.write("hub", *ids)
    weights = {id: 1 + ((7 * number) % 40) / 10 for number, id in enumerate(ids)}
    changes = [LinkChange("hub", id, of(weight)) for id, weight in weights.items()]
    assert all(await place.links.strengthen(changes, now_ms=NOW_MS))
    strongest = dict(sorted(weights.items(), key=lambda item: -item[1])[:MAX_LINKS])
    assert await place.weights("hub") == pytest.approx(strongest)
    for id in ids:
        # Known to both ends, or to none.
        assert await place.weights(id) == ({"hub": pytest.approx(weights[id])} if id in strongest else {})


async def test_what_is_missing_is_not_linked(place: Place) -> None:
    await place.write("a", "b")
    changes = [LinkChange("a", "nobody", of(1.0)), LinkChange("nobody", "a", of(1.0)), LinkChange("a", "b", of(1.0))]
    assert await place.links.strengthen(changes, now_ms=NOW_MS) == [False, False, True]
    assert await place.links.put(changes, now_ms=NOW_MS) == [False, False, True]
    assert await place.weights("a") == {"b": 1.0}
    assert await place.weights("nobody") == {}


async def test_a_deleted_record_leaves_no_link(place: Place, configuration: str) -> None:
    await place.write("a", "b", "c")
    await place.links.put([LinkChange("a", "b", of(1.0)), LinkChange("b", "c", of(1.0))], now_ms=NOW_MS)
    assert await place.records.delete_many(["b", "nobody"]) == [True, False]
    await place.write("b")
    for id in "abc":
        assert await place.weights(id) == {}, configuration
    await place.links.put([LinkChange("a", "b", of(1.0)), LinkChange("b", "c", of(1.0))], now_ms=NOW_MS)
    await place.links.forget(["c", "nobody"])
    assert await place.weights("b") == {"a": 1.0}
    await place.records.drop()
    await place.records.prepare(4)
    await place.write("a", "b")
    assert await place.weights("a") == {}


async def test_a_refused_deletion_leaves_the_links(place: Place) -> None:
    await place.write("a", "b")
    await place.links.put([LinkChange("a", "b", of(1.0))], now_ms=NOW_MS)
    assert await place.records.delete_many(["b"], expected=[{"content": b"other"}]) == [False]
    assert await place.weights("a") == {"b": 1.0}


async def test_links_gain_in_the_step_that_changes_a_record(place: Place) -> None:
    await place.write("a", "b", "c")
    gains = {"b": of(0.5), "c": of(0.25), "nobody": of(1.0)}
    touched: dict[str, Any] = {"increments": {"access_count": 1}}
    outcomes = await place.records.change_many(
        [
            RecordChange("a", **touched, links=gains),
            RecordChange("b", **touched, links={"a": of(0.5)}),
            RecordChange("gone", **touched, links={"a": of(1.0)}),
            RecordChange("c", expected={"content": b"other"}, links={"b": of(1.0)}),
        ]
    )
    assert outcomes == [1, 1, 0, 2]
    assert await place.weights("a") == {"b": 1.0, "c": 0.25}
    assert await place.weights("b") == {"a": 1.0}
    assert await place.weights("nobody") == {}


async def test_what_lies_two_steps_away_is_read_at_once(place: Place) -> None:
    await place.write(*"abcdefg")
    weights = {"ab": 1.0, "ac": 0.9, "ad": 0.8, "be": 1.0, "cf": 1.0, "dg": 1.0, "bg": 0.1}
    await place.links.put([LinkChange(pair[0], pair[1], of(weight)) for pair, weight in weights.items()], now_ms=NOW_MS)
    reach = LinkReach(0.25, followed=2, enough=99)
    found = await place.links.around(["a", "a", "nobody"], reach, now_ms=NOW_MS)
    assert {id: [end.id for end in ends] for id, ends in found.items()} == {
        "a": ["b", "c", "d"],
        "b": ["a", "e"],
        "c": ["f", "a"],
        "nobody": [],
    }
    assert await place.links.around([], reach, now_ms=NOW_MS) == {}


@pytest.mark.parametrize(
    ("enough", "beside", "looked_at"),
    [(0, (), "a"), (2, (), "a"), (3, (), "abc"), (2, ("b", "z"), "abc"), (1, ("b",), "a"), (1, ("b", "c"), "abc")],
)
async def test_nobody_looks_further_where_one_link_leads_to_enough(
    place: Place, enough: int, beside: tuple[str, ...], looked_at: str
) -> None:
    await place.write(*"abcde")
    pairs = [LinkChange(pair[0], pair[1], of(1.0)) for pair in ("ab", "ac", "be", "cb")]
    await place.links.put(pairs, now_ms=NOW_MS)
    found = await place.links.around(["a"], LinkReach(0.25, 2, enough, beside), now_ms=NOW_MS)
    assert sorted(found) == list(looked_at)
