"""Vectors by exact text: what was embedded once, by whichever worker, is not embedded again."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from betterdb_agent_memory.caches import deferred as deferred_module
from betterdb_agent_memory.caches.deferred import FLUSH_SECONDS, DeferredWrites
from betterdb_agent_memory.caches.embedding import (
    EmbeddingCache,
    decode_entry,
    encode_entry,
    place_of,
)
from betterdb_agent_memory.caches.local_vectors import LOCAL_SECONDS, LocalVectors
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.embedders import FunctionEmbedder
from betterdb_agent_memory.embedders.base import EachEmbedder
from betterdb_agent_memory.embedders.cached import CachedEmbedder, cached
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AgentMemoryError, EmbeddingError, InvalidInputError
from betterdb_agent_memory.options import TelemetryOptions
from tests.servers import ValkeyServer
from tests.waiting import NEVER_SECONDS, until

MODEL = "letters-1"
Made = Callable[..., EmbeddingCache]


class Letters:
    """A model that says how often it was asked: a vector of three numbers about a text."""

    name = MODEL
    dimensions: int | None = 3
    default_threshold = 0.5

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embed_query(self, text: str) -> list[float]:
        self.asked.append(text)
        return vector_of(text)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked += texts
        return [vector_of(text) for text in texts]


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 1.0, float(sum(text.encode()) % 97)]


@pytest.fixture
async def make(engine: Engine, store_name: str) -> AsyncIterator[Made]:
    made: list[DeferredWrites] = []

    def one(*, on: Engine = engine, flush_seconds: float = FLUSH_SECONDS, **options: Any) -> EmbeddingCache:
        watch = CacheWatch(store_name, TelemetryOptions(registry=CollectorRegistry()))
        deferred = DeferredWrites(
            on.values, f"{store_name}:__stats", interval_seconds=flush_seconds, on_failure=lambda: None
        )
        made.append(deferred)
        return EmbeddingCache(
            store_name,
            engine=on,
            watch=watch,
            deferred=deferred,
            **{"ttl_seconds": 60, "max_entries": 1000, "local_bytes": 0} | options,
        )

    yield one
    for deferred in made:
        await deferred.close()


async def keys_of(engine: Engine, prefix: str) -> list[str]:
    return [key async for page in engine.values.scan_keys(prefix) for key in page]


async def test_a_vector_that_one_worker_kept_is_found_by_another(make: Made) -> None:
    await make().put_many({"one": [1, 2, 3], "two": [4, 5, 6]}, model=MODEL)
    found = await make().get_many(["two", "three", "one", "two"], model=MODEL)
    assert [None if vector is None else vector.tolist() for vector in found] == [
        [4, 5, 6],
        None,
        [1, 2, 3],
        [4, 5, 6],
    ]


async def test_models_lengths_and_kinds_are_never_taken_for_each_other(make: Made) -> None:
    cache = make()
    await cache.put_many({"text": [1, 2, 3]}, model="a", dimensions=3, kind="query")
    for other in (
        {"model": "b", "dimensions": 3},
        {"model": "a", "dimensions": 4},
        {"model": "a", "dimensions": 3, "kind": "document"},
        {"model": "a:3:query", "dimensions": None},
    ):
        assert await cache.get_many(["text"], **other) == [None]
    assert await cache.get_many(["Text", "text ", "tex"], model="a", dimensions=3) == [None] * 3


async def test_a_value_is_an_owner_and_float32_little_endian(engine: Engine, make: Made, store_name: str) -> None:
    await make().put_many({"text": [1.0, -2.0]}, model=MODEL)
    [key] = await keys_of(engine, f"{store_name}:__embed:")
    value = await engine.values.get(key)
    assert value is not None
    assert len(value) == 32 + 8
    assert value[32:] == np.array([1.0, -2.0], dtype="<f4").tobytes()


async def test_entries_of_all_workers_never_exceed_the_bound(engine: Engine, make: Made, store_name: str) -> None:
    workers = [make(max_entries=50) for _ in range(4)]
    await asyncio.gather(
        *(
            worker.put_many({f"text {number} of {place}": [number + 1.0, 1.0] for number in range(100)}, model=MODEL)
            for place, worker in enumerate(workers)
        )
    )
    assert 45 <= len(await keys_of(engine, f"{store_name}:__embed:")) <= 50


async def test_what_fits_half_the_bound_is_nearly_all_found_again(make: Made) -> None:
    cache = make(max_entries=2000)
    texts = [f"question {number}" for number in range(1000)]
    for start in range(0, 1000, 100):
        await cache.put_many({text: vector_of(text) for text in texts[start : start + 100]}, model=MODEL)
    found = await cache.get_many(texts, model=MODEL)
    assert sum(vector is not None for vector in found) >= 900  # one place for each text would make it 787
    assert all(vector is None or vector.tolist() == vector_of(text) for text, vector in zip(texts, found, strict=True))


async def test_vectors_expire(engine: Engine, make: Made, store_name: str) -> None:
    await make(ttl_seconds=90).put_many({"text": [1.0]}, model=MODEL)
    [key] = await keys_of(engine, f"{store_name}:__embed:")
    batch = engine.values.batch()
    reply = batch.get_with_expiry(key)
    await batch.send()
    stored = reply.result()
    assert stored is not None
    assert stored.left_ms is not None
    assert 80_000 < stored.left_ms <= 90_000


async def test_no_copy_in_memory_outlives_its_vector(make: Made) -> None:
    writer = make(ttl_seconds=3, local_bytes=10_000)
    reader = make(ttl_seconds=60, local_bytes=10_000)
    await writer.put_many({"text": [1.0, 2.0]}, model=MODEL)
    for cache in (writer, reader):
        [found] = await cache.get_many(["text"], model=MODEL)
        assert found is not None
        assert len(cache._local) == 1
    await asyncio.sleep(3.1)
    for cache in (writer, reader):
        assert await cache.get_many(["text"], model=MODEL) == [None]


@pytest.mark.parametrize("size", [60, 500])
async def test_a_batch_keeps_off_its_own_vectors(make: Made, size: int) -> None:
    texts = [f"question {number}" for number in range(size)]
    cache = make(max_entries=4 * size)
    await cache.put_many({text: vector_of(text) for text in texts}, model=MODEL)
    found = await cache.get_many(texts, model=MODEL)
    assert sum(vector is not None for vector in found) >= 0.95 * size  # each by itself: 88 %

    keeping = CachedEmbedder(Letters(), make(max_entries=4 * size), documents=True)
    await keeping.embed_documents([f"stored {text}" for text in texts])
    found = await cache.get_many([f"stored {text}" for text in texts], model=MODEL, dimensions=3, kind="document")
    assert sum(vector is not None for vector in found) >= 0.9 * size


async def test_a_text_twice_in_a_batch_takes_one_slot(engine: Engine, make: Made, store_name: str) -> None:
    await CachedEmbedder(Letters(), make(), documents=True).embed_documents(["text", "text", "text"])
    assert len(await keys_of(engine, f"{store_name}:__embed:")) == 1


async def test_a_batch_does_not_overwrite_what_it_found(make: Made) -> None:
    cache = make(max_entries=2)  # every text may lie in both
    await cache.put_many({"a": vector_of("a")}, model=MODEL, dimensions=3, kind="document")
    await cache.put_many({"x": vector_of("x")}, model=MODEL)
    for number in range(10):
        await CachedEmbedder(Letters(), cache, documents=True).embed_documents([str(number), "a"])
        [found] = await cache.get_many(["a"], model=MODEL, dimensions=3, kind="document")
        assert found is not None


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", ""])
async def test_any_text_can_be_kept(make: Made, text: str) -> None:
    await make().put_many({text: [1.0, 2.0]}, model=MODEL)
    [found] = await make().get_many([text], model=MODEL)
    assert found is not None


async def test_a_large_batch_leaves_room_for_other_tasks(make: Made) -> None:
    turns = 0
    read_in: list[int] = []

    class Row:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            read_in.append(turns)
            return np.ones(3)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    cache = make(local_bytes=1_000_000, max_entries=100_000)
    texts = [f"text {number}" for number in range(1000)]
    counting = asyncio.create_task(count_turns())
    await cache.put_many({text: Row() for text in texts}, model=MODEL)  # type: ignore[misc]
    assert max(Counter(read_in).values()) <= 20
    before = turns
    found = await cache.get_many(texts, model=MODEL)  # from memory: nothing is waited for
    assert all(vector is not None for vector in found)
    assert turns - before >= 10
    counting.cancel()


@pytest.mark.parametrize("broken", [b"", b"x", b"\0" * 12, np.array([1, math.nan, 2], "<f4").tobytes()])
async def test_a_broken_value_is_a_miss_and_is_replaced(
    engine: Engine, make: Made, store_name: str, broken: bytes
) -> None:
    cache = make()
    await cache.put_many({"text": [1, 2, 3]}, model=MODEL, dimensions=3)
    [key] = await keys_of(engine, f"{store_name}:__embed:")
    stored = await engine.values.get(key)
    assert stored is not None
    await engine.values.set(key, stored[:32] + broken)
    assert await cache.get_many(["text"], model=MODEL, dimensions=3) == [None]
    assert cache._watch.corrupt_count == 1
    model = Letters()
    await CachedEmbedder(model, cache).embed_query("text")
    assert model.asked == ["text"]
    await cache.stats()  # what waits is written
    [again] = await make().get_many(["text"], model=MODEL, dimensions=3)
    assert again is not None
    assert len(await keys_of(engine, f"{store_name}:__embed:")) == 1


async def test_a_question_is_embedded_once(make: Made) -> None:
    model = Letters()
    for _ in range(3):
        cache = make()
        embedder = CachedEmbedder(model, cache)
        for _ in range(2):  # at once and without a copy in memory: what waits to be written is found
            assert np.asarray(await embedder.embed_query("where is Ana?")).tolist() == vector_of("where is Ana?")
        await cache.stats()
    assert model.asked == ["where is Ana?"]
    assert (embedder.name, embedder.dimensions, embedder.default_threshold) == (MODEL, 3, 0.5)


class Slow(Letters):
    """Answers when it is let, and says how many calls were cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.cancelled = 0

    async def embed_query(self, text: str) -> list[float]:
        self.asked.append(text)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if text == "bad":
            raise EmbeddingError("no")
        return vector_of(text)


async def test_the_same_question_at_the_same_moment_is_one_call(make: Made) -> None:
    model = Slow()
    embedder = CachedEmbedder(model, make())
    asking = [asyncio.create_task(embedder.embed_query(text)) for text in ["a", "b", "a", "a", "bad", "bad"]]
    await until(lambda: len(model.asked) == 3)
    await asyncio.sleep(0.05)
    asking[0].cancel()  # it made the call for the others
    await asyncio.sleep(0.01)
    model.may_answer.set()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert [vector.tolist() for vector in others[:3] if isinstance(vector, np.ndarray)] == [
        vector_of("b"),
        vector_of("a"),
        vector_of("a"),
    ]
    assert all(isinstance(error, EmbeddingError) for error in others[3:])
    assert (sorted(model.asked), model.cancelled) == (["a", "b", "bad"], 0)
    assert not embedder._calls


async def test_a_call_that_nobody_waits_for_any_more_is_cancelled(make: Made) -> None:
    model = Slow()
    embedder = CachedEmbedder(model, make())
    asking = [asyncio.create_task(embedder.embed_query("a")) for _ in range(2)]
    await until(lambda: bool(model.asked))
    await asyncio.sleep(0.05)
    for task in asking:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*asking, return_exceptions=True))
    assert model.cancelled == 1
    assert not embedder._calls
    model.may_answer.set()
    assert np.asarray(await embedder.embed_query("a")).tolist() == vector_of("a")


async def test_texts_to_be_stored_are_kept_only_when_asked_for(make: Made) -> None:
    model = Letters()
    plain, keeping = CachedEmbedder(model, make()), CachedEmbedder(model, make(), documents=True)
    for _ in range(2):
        await plain.embed_documents(["a"])
    assert model.asked == ["a", "a"]
    await keeping.embed_documents(["a", "bb"])
    found = await keeping.embed_documents(["bb", "ccc", "a"])
    assert [np.asarray(vector).tolist() for vector in found] == [vector_of(text) for text in ("bb", "ccc", "a")]
    assert model.asked == ["a", "a", "a", "bb", "ccc"]


async def test_a_batch_is_one_round_trip_and_its_misses_another(engine: Engine, make: Made) -> None:
    if not isinstance(engine, ValkeyEngine):
        pytest.skip("a file has no round trips")
    cache = make(local_bytes=100_000, flush_seconds=NEVER_SECONDS)
    texts = [f"text {number}" for number in range(80)]
    await cache.get_many(["scripts are loaded"], model=MODEL)
    await cache.stats()  # the counts of before are written
    before = engine.round_trips
    lookup = await cache.look_up(texts, model=MODEL, dimensions=None, kind="query")
    assert engine.round_trips - before == 1
    await cache.keep(lookup, {place: np.ones(3, np.float32) for place in range(80)})
    assert engine.round_trips - before == 2
    await cache.get_many(texts, model=MODEL)
    assert engine.round_trips - before == 2  # all of them were in memory


async def test_statistics_are_those_of_all_workers(make: Made) -> None:
    one, other = make(local_bytes=10_000), make()
    await one.put_many({"a": [1.0, 2.0]}, model=MODEL)
    await one.get_many(["a", "b"], model=MODEL)
    await other.get_many(["a", "c", "d"], model=MODEL)
    await other.stats()
    stats = await one.stats()
    assert (stats.hits, stats.misses) == (2, 3)
    assert stats.hit_rate == 0.4
    assert stats.local_entries == 1
    assert 8 < stats.local_bytes < 1_000


async def test_clear_deletes_vectors_and_nothing_else(engine: Engine, make: Made, store_name: str) -> None:
    cache = make(local_bytes=10_000)
    await cache.put_many({str(number): [1.0, 2.0] for number in range(20)}, model=MODEL)
    others = [f"{store_name}:__stats:x", f"{store_name}x:__embed:1", f"{store_name}:__embedded", f"{store_name}:mem:1"]
    for key in others:
        await engine.values.set(key, b"1")
    assert await cache.clear() == 20
    assert await cache.get_many(["1"], model=MODEL) == [None]
    assert sorted(await keys_of(engine, store_name)) == sorted(others)


async def test_a_cache_that_fails_does_not_fail_the_question(store_name: str, caplog: pytest.LogCaptureFixture) -> None:
    with ValkeyServer() as server:
        engine = ValkeyEngine.from_url(server.url)
        watch = CacheWatch(store_name, TelemetryOptions(registry=CollectorRegistry()))
        deferred = DeferredWrites(engine.values, f"{store_name}:__stats", on_failure=lambda: None)
        cache = EmbeddingCache(
            store_name, engine=engine, watch=watch, deferred=deferred, ttl_seconds=60, max_entries=10
        )
        embedder = CachedEmbedder(Letters(), cache)
        with server.blocking_client() as client:
            client.execute_command("CONFIG", "SET", "maxmemory", "1")
        # Reads work, writes do not.
        assert np.asarray(await embedder.embed_query("a")).tolist() == vector_of("a")
        with pytest.raises(AgentMemoryError):
            await deferred.flush()
        assert watch.background_failure_count == 1
        assert "1 values beside" in caplog.text
    # Now nothing does.
    assert np.asarray(await embedder.embed_query("b")).tolist() == vector_of("b")
    assert watch.background_failure_count == 2
    await deferred.close()
    await engine.close()


async def test_a_new_question_waits_for_the_look_up_and_not_for_the_vector_to_be_written(
    engine: Engine, make: Made, store_name: str
) -> None:
    model, cache = Letters(), make()
    embedder = CachedEmbedder(model, cache)
    await embedder.embed_query("connected")
    await cache.stats()
    before = engine.round_trips
    await embedder.embed_query("new")
    assert engine.round_trips - before <= 1  # none in a file
    assert len(await keys_of(engine, f"{store_name}:__embed:")) == 1
    async with asyncio.timeout(30):
        while len(await keys_of(engine, f"{store_name}:__embed:")) == 1:  # noqa: ASYNC110 - by itself, soon
            await asyncio.sleep(0.05)
    [found] = await make().get_many(["new"], model=MODEL, dimensions=3)
    assert found is not None


async def test_new_questions_together_take_the_slots_that_are_left(engine: Engine, make: Made, store_name: str) -> None:
    cache = make(max_entries=2)
    for text in ("a", "b"):
        await CachedEmbedder(Letters(), cache).embed_query(text)
    await cache.stats()
    assert len(await keys_of(engine, f"{store_name}:__embed:")) == 2


async def test_clear_drops_what_waits_to_be_written(engine: Engine, make: Made, store_name: str) -> None:
    cache = make()
    await CachedEmbedder(Letters(), cache).embed_query("a")
    await cache.clear()
    await cache.stats()
    assert not await keys_of(engine, f"{store_name}:__embed:")


async def test_what_is_said_of_a_text_replaces_what_waits(make: Made) -> None:
    cache = make()
    await CachedEmbedder(Letters(), cache).embed_query("a")
    await cache.put_many({"a": [7.0, 8.0, 9.0]}, model=MODEL, dimensions=3)
    await cache.stats()
    [found] = await make().get_many(["a"], model=MODEL, dimensions=3)
    assert found is not None
    assert found.tolist() == [7.0, 8.0, 9.0]


async def test_more_new_questions_than_may_wait_are_kept_all_the_same(
    engine: Engine, make: Made, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred_module, "MAX_PENDING_VALUES", 2)
    cache = make()
    for number in range(4):
        await CachedEmbedder(Letters(), cache).embed_query(str(number))
    assert len(await keys_of(engine, f"{store_name}:__embed:")) == 2
    await cache.stats()
    assert len(await keys_of(engine, f"{store_name}:__embed:")) == 4


async def test_an_unusable_vector_of_the_model_is_not_kept(make: Made) -> None:
    async def zeros(text: str) -> list[float]:
        return [0.0, 0.0]

    cache = make()
    with pytest.raises(EmbeddingError, match="zeros"):
        await cached(FunctionEmbedder(zeros, name="z"), cache).embed_query("a")
    assert await cache.get_many(["a"], model="z") == [None]


async def test_what_an_embedder_can_do_it_can_behind_the_cache(make: Made) -> None:
    async def embed(text: str) -> list[float]:
        if text == "bad":
            raise ValueError("no")
        return vector_of(text)

    function = cached(FunctionEmbedder(embed, name="f"), make())
    assert isinstance(function, EachEmbedder)
    good, bad = await function.embed_each(["good", "bad"])
    assert isinstance(bad, Exception)
    assert not isinstance(good, Exception)
    assert not isinstance(cached(Letters(), make()), EachEmbedder)


async def test_each_texts_outcome_is_told_and_only_vectors_are_kept(make: Made) -> None:
    asked: list[str] = []

    async def embed(text: str) -> list[float]:
        asked.append(text)
        if text == "bad":
            raise ValueError("no")
        return [0.0, 0.0, 0.0] if text == "zero" else vector_of(text)

    for _ in range(2):
        embedder = cached(FunctionEmbedder(embed, name="f"), make(), documents=True)
        assert isinstance(embedder, EachEmbedder)
        good, bad, zero, other = await embedder.embed_each(["good", "bad", "zero", "other"])
        assert np.asarray(good).tolist() == vector_of("good")
        assert np.asarray(other).tolist() == vector_of("other")
        assert isinstance(bad, Exception)
        assert isinstance(zero, Exception)
        assert await embedder.embed_each([]) == []
    assert [asked.count(text) for text in ("good", "bad", "zero", "other")] == [1, 2, 2, 1]


async def test_an_unusable_vector_of_a_batch_harms_no_other(make: Made) -> None:
    class Zeros(Letters):
        async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
            vectors = await super().embed_documents(texts)
            return [[0.0] * 3 if text == "zero" else vector for text, vector in zip(texts, vectors, strict=True)]

    model = Zeros()
    embedder = CachedEmbedder(model, make(), documents=True)
    for _ in range(2):
        assert [np.asarray(vector).tolist() for vector in await embedder.embed_documents(["a", "zero"])] == [
            vector_of("a"),
            [0.0] * 3,
        ]
    assert model.asked == ["a", "zero", "zero"]


async def test_an_answer_of_another_length_is_refused(make: Made) -> None:
    class Short(Letters):
        async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
            return (await super().embed_documents(texts))[1:]

    with pytest.raises(EmbeddingError):
        await CachedEmbedder(Short(), make(), documents=True).embed_documents(["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"texts": "text", "model": "m"}, "list of texts"),
        ({"texts": [1], "model": "m"}, "list of texts"),
        ({"texts": ["a"], "model": ""}, "model"),
        ({"texts": ["a"], "model": "m\ud800"}, "model"),
        ({"texts": ["a"], "model": "m", "kind": "questions"}, "kind"),
    ],
)
async def test_bad_input_is_refused(make: Made, arguments: dict, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        await make().get_many(**arguments)


async def test_a_bad_vector_is_refused_before_anything_is_written(make: Made) -> None:
    cache = make()
    with pytest.raises(InvalidInputError):
        await cache.put_many({"good": [1.0], "bad": [float("nan")]}, model=MODEL)
    assert await cache.get_many(["good"], model=MODEL) == [None]


def test_recent_vectors_are_bounded_in_bytes_and_age() -> None:
    now = [0.0]
    vectors = LocalVectors(3 * (40 + 250), now_seconds=lambda: now[0])
    rows = {bytes([number]): np.full(10, number, np.float32) for number in range(5)}
    for digest, row in list(rows.items())[:3]:
        vectors.put(digest, row)
    assert vectors.get(b"\0") is not None  # used last, so that 1 leaves first
    vectors.put(b"\3", rows[b"\3"])
    assert [vectors.get(digest) is not None for digest in rows] == [True, False, True, True, False]
    assert vectors.bytes == 3 * 290
    vectors.put(b"\4", np.zeros(10_000, np.float32))
    assert len(vectors) == 3  # one that alone is too large drives nobody out
    now[0] = LOCAL_SECONDS + 1
    assert vectors.get(b"\0") is None
    assert vectors.bytes == 2 * 290
    vectors.clear()
    assert (len(vectors), vectors.bytes) == (0, 0)


@given(text=st.text(), other=st.text(), slots=st.integers(2, 10**9))
def test_a_place_is_two_slots_within_the_bound_and_follows_the_text(text: str, other: str, slots: int) -> None:
    place = place_of(text, model="m", dimensions=None, kind="query", slots=slots)
    assert place == place_of(text, model="m", dimensions=None, kind="query", slots=slots)
    assert len(set(place.slots)) == 2
    assert all(0 <= slot < slots for slot in place.slots)
    assert (place_of(other, model="m", dimensions=None, kind="query", slots=slots).digest == place.digest) == (
        other == text
    )


def test_texts_that_no_encoding_holds_have_a_place() -> None:
    assert len(place_of("\ud800", model="m", dimensions=None, kind="query", slots=2).digest) == 32


@given(st.lists(st.floats(-1e6, 1e6, width=32).filter(lambda number: abs(number) > 1e-6), min_size=1, max_size=20))
def test_an_entry_holds_its_vector_and_only_its_owners(numbers: list[float]) -> None:
    vector = np.array(numbers, np.float32)
    stored = encode_entry(b"d" * 32, vector)
    found = decode_entry(b"d" * 32, stored, None)
    assert found is not None
    assert found.tolist() == vector.tolist()
    assert not found.flags.writeable
    assert decode_entry(b"e" * 32, stored, None) is None
    with pytest.raises(EmbeddingError):
        decode_entry(b"d" * 32, stored, len(numbers) + 1)
