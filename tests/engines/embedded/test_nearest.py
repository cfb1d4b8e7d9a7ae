from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.engines.embedded import EmbeddedEngine, coarse, search
from betterdb_agent_memory.engines.embedded.queries import values
from betterdb_agent_memory.engines.filters import Equals, Filter
from betterdb_agent_memory.errors import InvalidInputError
from tests.engines.embedded.support import collection, encoded, record, true_distances
from tests.engines.searching import nearest


@pytest.fixture(params=["coarse", "one by one"])
def path_taken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of searching, whatever the size of the scope."""
    monkeypatch.setattr(search, "SMALL_SCOPE", 0 if request.param == "coarse" else 1_000_000)
    monkeypatch.setattr(search, "COARSE_GAIN", 1_000_000)
    return str(request.param)


def random_vectors(seed: int, rows: int, dimensions: int) -> np.ndarray:
    """Clusters with near and exact duplicates, opposite, zero, huge and tiny vectors among them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, rows // 8), dimensions))
    vectors = (centres[rng.integers(len(centres), size=rows)] + 0.1 * rng.normal(size=(rows, dimensions))).astype("<f4")
    for kind, change in enumerate((lambda v: v * 0, lambda v: v * 1e15, lambda v: v * 1e-8, lambda v: -v)):
        vectors[kind::11] = change(vectors[kind::11])
    vectors[5::7] = vectors[rng.integers(rows, size=len(vectors[5::7]))]
    return vectors


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 200), dimensions=st.integers(2, 64), count=st.integers(1, 40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_finds_what_a_comparison_with_every_vector_finds(
    path_taken: str, seed: int, rows: int, dimensions: int, count: int
) -> None:
    vectors = random_vectors(seed, rows, dimensions)
    rng = np.random.default_rng(seed)
    query = (vectors[rng.integers(rows)] + rng.choice([0, 0.05, 1]) * rng.normal(size=dimensions)).astype("<f4")
    scopes = rng.integers(3, size=rows)
    engine = EmbeddedEngine()
    records = engine.records(collection())
    await records.prepare(dimensions)
    try:
        await records.write_many(
            [
                RecordWrite(f"{i:04}", {"vector": v.tobytes(), "threadId": b"%d" % s})
                for i, (v, s) in enumerate(zip(vectors, scopes, strict=True))
            ]
        )
        for members, filter in (
            (np.arange(rows), Filter()),
            (np.flatnonzero(scopes == 1), Filter((Equals("threadId", "1"),))),
        ):
            found = await nearest(records, query.tobytes(), count=count, filter=filter, fields=[])
            truth = true_distances(vectors, query)
            assert len(found) == min(count, len(members))
            assert {int(row.id) for row in found} <= set(members.tolist())
            assert [row.distance for row in found] == pytest.approx(np.sort(truth[members])[:count].tolist(), abs=1e-5)
            assert [row.distance for row in found] == pytest.approx([truth[int(row.id)] for row in found], abs=1e-5)
            assert found == sorted(found, key=lambda row: (row.distance, row.id))
    finally:
        await engine.close()


async def test_both_ways_of_searching_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_vectors(3, 3000, 48)
    engine = EmbeddedEngine()
    records = engine.records(collection())
    await records.prepare(48)
    await records.write_many([record(f"{i:05}", v, agentId=str(i % 2)) for i, v in enumerate(vectors)])
    asked: list[int] = []
    compare_keys = search.Surroundings._compare_keys

    def compared(around, keys, count, scope):
        asked.append(len(keys))
        return compare_keys(around, keys, count, scope)

    monkeypatch.setattr(search.Surroundings, "_compare_keys", compared)
    for filter in (Filter(), Filter((Equals("agentId", "1"),))):
        for query in vectors[7:200:16]:
            found = []
            for small in (0, 10**6):
                monkeypatch.setattr(search, "SMALL_SCOPE", small)
                found.append(await nearest(records, encoded(query), count=10, filter=filter, fields=[]))
            assert found[0] == found[1]
    # The coarse pass took part, and spared most of the exact comparisons.
    assert len(asked) >= 20
    assert np.median(asked) < 600
    await engine.close()


@given(seed=st.integers(0, 2**32), dimensions=st.integers(1, 400))
@settings(max_examples=80, deadline=None)
def test_the_margin_covers_the_error_of_quantisation(seed: int, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(40, dimensions)) * rng.choice([1, 100], size=(40, dimensions), p=[0.9, 0.1])).astype(
        "<f4"
    )
    query = (vectors[0] + rng.normal(size=dimensions)).astype("<f4")
    unit = (query / np.linalg.norm(query.astype(np.float64))).astype(np.float32)
    slots = coarse.quantised(vectors)
    estimated = (slots["code"].astype(np.float32) @ unit) * slots["scale"]
    error = np.abs(1.0 - true_distances(vectors, query) - estimated)
    assert (error <= slots["margin"] + coarse.rounding(dimensions)).all()
    assert (slots["margin"] < 0.2).all()


async def test_expired_and_deleted_records_are_not_near(path_taken: str, engine: EmbeddedEngine, clock) -> None:
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record(f"{i}", [1, i], ttl_seconds=10 if i % 3 == 0 else None) for i in range(300)])
    await records.delete_many([f"{i}" for i in range(300) if i % 3 == 1])
    clock.seconds += 10
    # Few enough that the coarse pass is taken: it would not be for half of the living.
    rows = await nearest(records, encoded([1, 0]), count=40, filter=Filter(), fields=[])
    assert [row.id for row in rows] == [f"{i}" for i in range(2, 300, 3)][:40]


async def test_a_record_that_lost_its_vector_takes_nobodys_place(path_taken: str, engine: EmbeddedEngine) -> None:
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record(f"{i:02}", [1, i]) for i in range(40)])
    await records.write_many([RecordWrite(f"{i:02}", {"content": b"x"}) for i in range(5)])
    rows = await nearest(records, encoded([1, 0]), count=5, filter=Filter(), fields=[])
    assert [row.id for row in rows] == ["05", "06", "07", "08", "09"]


async def test_what_was_deleted_leaves_no_trace_of_its_vector(engine: EmbeddedEngine) -> None:
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record("1", [3, 4]), record("2", [3, 4])])
    await records.delete_many(["1", "2"])
    blocks = await records._database.read(lambda c: values(c, "SELECT slots FROM coarse_1"))
    assert len(blocks) == 1
    assert not any(blocks[0])


async def test_a_vector_without_direction_is_neither_like_nor_opposed(path_taken: str, engine: EmbeddedEngine) -> None:
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many(
        [
            record("zero", [0, 0]),
            record("same", [2, 0]),
            record("opposite", [-1, 0]),
            record("across", [0, 1]),
            record("nan", [float("nan"), 1]),
            record("infinite", [float("inf"), 1]),
        ]
    )
    rows = await nearest(records, encoded([1, 0]), count=9, filter=Filter(), fields=[])
    assert [(row.id, row.distance) for row in rows] == [
        ("same", 0.0),
        ("across", 1.0),
        ("infinite", 1.0),
        ("nan", 1.0),
        ("zero", 1.0),
        ("opposite", 2.0),
    ]
    for query in ([0, 0], [float("nan"), 0], [float("inf"), 0]):
        rows = await nearest(records, encoded(query), count=9, filter=Filter(), fields=[])
        assert [row.distance for row in rows] == [1.0] * 6
        assert [row.id for row in rows] == sorted(row.id for row in rows)


async def test_how_many_may_be_asked_for(engine: EmbeddedEngine) -> None:
    records = engine.records(collection())
    await records.prepare(2)
    assert await nearest(records, encoded([1, 0]), count=5, filter=Filter(), fields=[]) == []
    await records.write_many([record(f"{i}") for i in range(5)])
    assert len(await nearest(records, encoded([1, 0]), count=1_000_000, filter=Filter(), fields=[])) == 5
    assert await nearest(records, encoded([1, 0]), count=0, filter=Filter(), fields=[]) == []
    with pytest.raises(InvalidInputError, match="1000000"):
        await nearest(records, encoded([1, 0]), count=records.max_neighbours + 1, filter=Filter(), fields=[])
