"""What hybrid retrieval finds, in which order, why, and at what cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import (
    HybridOptions,
    Importance,
    MemoryHit,
    MemoryScope,
    MemoryStore,
    RecallWeights,
    Relevance,
)
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError, RerankingError
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection

NOW_MS = 1_750_000_000_000  # 15 June 2025
DAY_MS = 86_400_000
BY_RELEVANCE = RecallWeights(1, 0, 0)


def vector_of(text: str) -> list[float]:
    """A direction of its own for every text; the `[n]` at its beginning says how far from straight ahead."""
    degrees = float(text[1 : text.index("]")]) if text.startswith("[") else 0.0
    return [float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), 0.0, 0.0]


async def embed(text: str) -> list[float]:
    return vector_of(text)


@pytest.fixture
async def store(engine: Engine, store_name: str) -> Any:
    made = MemoryStore(
        client=engine,
        name=store_name,
        embed_fn=embed,
        retrieval="hybrid",
        weights=BY_RELEVANCE,
        default_threshold=0.5,
        clock=lambda: NOW_MS,
    )
    yield made
    await made.close()


async def write(engine: Engine, name: str, memories: Sequence[NewMemory]) -> None:
    """Records as any client may have written them."""
    records = engine.records(memory_collection(name))
    await records.prepare(4)
    vectors = [np.array(vector_of(one.content), dtype="<f4").tobytes() for one in memories]
    await records.write_many(
        [RecordWrite(one.id, encode_memory(one, vector)) for one, vector in zip(memories, vectors, strict=True)]
    )


def memory(id: str, content: str, **fields: Any) -> NewMemory:
    return NewMemory(id, content, 0.5, fields.pop("created_at_ms", NOW_MS - 100 * DAY_MS), **fields)


def ids(hits: Sequence[MemoryHit]) -> list[str]:
    return [hit.item.id for hit in hits]


def relevance(hit: MemoryHit) -> Relevance:
    assert hit.explain is not None
    assert hit.explain.relevance is not None
    assert hit.explain.score == pytest.approx(hit.score)
    return hit.explain.relevance


async def test_a_word_finds_what_no_vector_would(engine: Engine, store: MemoryStore) -> None:
    near = [memory(f"near{i}", f"[{i / 10}] the weather was fine") for i in range(100)]
    await write(engine, store.name, [*near, memory("far", "[70] the code of the vault is Zanzibar")])
    question = "What has Zanzibar to do with it?"
    found = await store.recall(question, k=3)
    assert ids(found)[0] == "far"
    assert relevance(found[0]).matched == ("zanzibar",)
    assert relevance(found[1]).matched == ()
    # Beyond the threshold, and found for its word alone.
    assert found[0].distance > 0.6
    assert "far" not in ids(await store.recall(question, k=100, retrieval="vector"))
    # Without a word it is as far away as it is.
    assert "far" not in ids(await store.recall("What is the weather?", k=200))


async def test_words_are_found_in_any_form(engine: Engine, store: MemoryStore) -> None:
    await write(engine, store.name, [memory("a", "[10] They researched adoption agencies."), memory("b", "[5] Rain.")])
    assert ids(await store.recall("Which agency did she adopt through, and who researches it?"))[0] == "a"


async def test_turns_lend_their_words_to_those_beside_them(engine: Engine, store: MemoryStore) -> None:
    def turn(number: int, text: str, session: str = "s", thread: str = "t") -> NewMemory:
        return memory(f"{thread}{session}{number}", text, session=session, turn=number, thread_id=thread)

    await write(
        engine,
        store.name,
        [
            turn(4, "[30] Did you see the exhibition of lighthouses?"),
            turn(5, "[30] Yes, that one."),
            turn(7, "[30] Yes, that one, too."),
            turn(5, "[30] Yes, that one as well.", session="other"),
            turn(5, "[30] Yes, that one, indeed.", thread="other"),
        ],
    )
    found = await store.recall("lighthouses exhibition")
    assert ids(found)[:2] == ["ts4", "ts5"]
    lent = relevance(found[1])
    assert lent.lent
    assert lent.matched == ()
    assert lent.words == pytest.approx(0.7 * relevance(found[0]).words)
    assert [relevance(hit).words for hit in found[2:]] == [0.0, 0.0, 0.0]


async def test_a_date_in_the_question_counts_for_what_happened_then(engine: Engine, store: MemoryStore) -> None:
    on_8_may = 1_746_700_000_000  # 8 May 2025
    far = [memory(f"near{i}", "[20.5] we met") for i in range(100)]
    await write(
        engine,
        store.name,
        [
            *far,
            memory("then", "[59] we met", occurred_at_ms=on_8_may),
            memory("written-then", "[58] we met", created_at_ms=on_8_may),
            memory("told-then", "[57] we met", occurred_at_ms=on_8_may - 40 * DAY_MS, created_at_ms=on_8_may),
        ],
    )
    for question in ("Where did we meet on 8 May?", "Where did we meet on 8 May 2025?"):
        found = await store.recall(question, k=3, threshold=2.0)
        assert set(ids(found)[:2]) == {"then", "written-then"}
        assert [relevance(hit).date for hit in found] == [1.0, 1.0, 0.0]
    # "Last month" is May as seen from June, and April as seen from May.
    assert set(ids(await store.recall("Where did we meet last month?", k=2))) == {"then", "written-then"}
    earlier = await store.recall("Where did we meet last month?", k=2, now=NOW_MS - 30 * DAY_MS)
    assert "then" not in ids(earlier)


async def test_a_person_in_the_question_counts_for_what_they_said(engine: Engine, store: MemoryStore) -> None:
    await write(
        engine,
        store.name,
        [
            memory("a", "[20] I like tea.", speaker="Caroline"),
            memory("b", "[20] I like tea.", speaker="Melanie"),
            memory("c", "Caroline: I like tea."),
        ],
    )
    found = await store.recall("Which drink does Caroline like?")
    assert ids(found) == ["c", "a", "b"]  # c has the name as a word, too
    assert [relevance(hit).actor for hit in found] == [1.0, 1.0, 0.0]


async def test_recency_and_importance_break_ties(engine: Engine, store: MemoryStore) -> None:
    await write(
        engine,
        store.name,
        [
            memory("old", "[10] tea", created_at_ms=NOW_MS - 300 * DAY_MS),
            memory("new", "[10] tea", created_at_ms=NOW_MS),
            memory("relevant", "[9] green tea", created_at_ms=NOW_MS - 300 * DAY_MS),
        ],
    )
    tie_breakers = RecallWeights(0.97, 0.02, 0.01)
    assert ids(await store.recall("green tea", weights=tie_breakers)) == ["relevant", "new", "old"]


async def test_scopes_are_exact_in_every_search(engine: Engine, store: MemoryStore) -> None:
    strangers = [
        memory(f"x{i}", "[1] the password is swordfish", namespace=namespace, speaker="Ada", occurred_at_ms=NOW_MS)
        for i, namespace in enumerate(("Acme", "ACME", " acme", "acme ", "acme,b", "b"))
    ]
    mine = memory("mine", "[80] swordfish is on the menu", namespace="acme")
    await write(engine, store.name, [*strangers, mine])
    for question in ("swordfish", "What did Ada say today about the password?", "nothing known"):
        for exact in (False, True):
            assert set(ids(await store.recall(question, namespace="acme", threshold=2.0, exact=exact))) == {"mine"}
    assert ids(await store.recall("swordfish", scope=MemoryScope(namespace="Acme"))) == ["x0"]


async def test_round_trips_and_bytes(engine: Engine, store: MemoryStore) -> None:
    if not isinstance(engine, ValkeyEngine):
        pytest.skip("a file has no round trips")
    words = ["stone", "river", "lamp", "cloud"]
    many = [
        memory(f"m{i}", f"[{i / 10}] {words[i % 4]} {words[i % 3]} {i}", occurred_at_ms=NOW_MS - i * 3_600_000)
        for i in range(400)
    ]
    await write(engine, store.name, many)
    for retrieval in ("hybrid", "vector"):
        await store.recall("warm up", retrieval=retrieval)

    async def trips(question: str, **options: Any) -> int:
        before = engine.round_trips
        await store.recall(question, **options)
        return engine.round_trips - before

    assert await trips("stone river", reinforce=False) == 2  # how frequent the words are is asked first
    assert await trips("stone river", reinforce=False) == 1
    assert await trips("river stone last week", reinforce=False) == 2
    assert await trips("river stone last week", reinforce=False) == 1
    assert await trips("lamp", reinforce=True) == 3
    assert await trips("lamp", reinforce=True, diversity=0.7) == 3
    assert await trips("lamp", reinforce=False, retrieval="vector") == 1


async def test_no_vector_travels(engine: Engine, store: MemoryStore, store_name: str) -> None:
    if not isinstance(engine, ValkeyEngine):
        pytest.skip("nothing travels to a file")
    large = MemoryStore(client=engine, name=f"{store_name}-large", retrieval="hybrid", default_threshold=2.0)
    records = engine.records(memory_collection(large.name))
    await records.prepare(1536)
    numbers = np.random.default_rng(1)
    vectors = numbers.standard_normal((100, 1536)).astype("<f4")
    for i, vector in enumerate(vectors):
        await records.write_many([RecordWrite(f"m{i}", encode_memory(memory(f"m{i}", f"tea {i}"), vector.tobytes()))])
    for options in ({"exact": True}, {"retrieval": "vector"}, {}):
        await large.recall_by_vector(vectors[0], query="tea", reinforce=False, **options)
        before = engine.traffic.bytes_received
        hits = await large.recall_by_vector(vectors[0], query="tea", reinforce=False, **options)
        assert len(hits) == 8
        assert engine.traffic.bytes_received - before < 100 * 400
    before = engine.traffic.bytes_received
    await large.recall_by_vector(vectors[0], query="tea", reinforce=False, diversity=0.5)
    assert engine.traffic.bytes_received - before > 32 * 1536 * 4  # those of the chosen, and of nobody else
    await large.close()


async def test_the_same_question_at_the_same_time_is_searched_once(engine: Engine, store: MemoryStore) -> None:
    if not isinstance(engine, ValkeyEngine):
        pytest.skip("a file has no round trips")
    await write(engine, store.name, [memory(f"m{i}", f"[{i}] tea", namespace="n") for i in range(50)])
    await store.recall("warm up", namespace="n", reinforce=False)
    for retrieval in ("hybrid", "vector"):
        await store.recall("warm up", namespace="n", reinforce=False, retrieval=retrieval)
        before = engine.round_trips
        several = await asyncio.gather(
            *(store.recall("tea", namespace="n", reinforce=False, retrieval=retrieval) for _ in range(32))
        )
        assert engine.round_trips - before <= 2
        assert all(ids(hits) == ids(several[0]) and len(hits) == 8 for hits in several)
        assert several[0] is not several[1]


async def test_a_recall_by_vector_is_eight_kilobytes_at_most(engine: Engine, store_name: str) -> None:
    if not isinstance(engine, ValkeyEngine):
        pytest.skip("nothing travels to a file")
    store = MemoryStore(client=engine, name=store_name, retrieval="vector", default_threshold=2.0)
    records = engine.records(memory_collection(store_name))
    await records.prepare(384)
    vectors = np.random.default_rng(1).standard_normal((200, 384)).astype("<f4")
    texts = [f"Turn {i}: " + "a sentence of some length about this and that, " * 4 for i in range(200)]
    await records.write_many(
        [
            RecordWrite(f"{i:032x}", encode_memory(memory(f"{i:032x}", texts[i], namespace="n"), vectors[i].tobytes()))
            for i in range(200)
        ]
    )
    await store.recall_by_vector(vectors[0], namespace="n", reinforce=False)
    for vector in vectors[:20]:
        traffic = replace(engine.traffic)
        hits = await store.recall_by_vector(vector, namespace="n", reinforce=False)
        assert (len(hits), engine.traffic.round_trips - traffic.round_trips) == (8, 1)
        sent = engine.traffic.bytes_sent - traffic.bytes_sent
        assert sent + engine.traffic.bytes_received - traffic.bytes_received <= 8_000
        assert hits[0].item.content in texts
    await store.close()


@pytest.mark.parametrize("exact", [False, True])
async def test_the_engine_chooses_what_would_have_been_chosen_here(
    engine: Engine, store_name: str, exact: bool
) -> None:
    numbers = np.random.default_rng(7)
    store = MemoryStore(client=engine, name=store_name, retrieval="vector", default_threshold=2.0)
    records = engine.records(memory_collection(store_name))
    await records.prepare(4)
    memories = [
        replace(
            memory(f"m{i:03}", f"text {i}", namespace="n" if i % 3 else "N"),
            importance=float(numbers.random()),
            created_at_ms=NOW_MS - int(numbers.integers(0, 30 * 86_400_000)),
        )
        for i in range(150)
    ]
    vectors = numbers.standard_normal((150, 4)).astype("<f4")
    await records.write_many(
        [RecordWrite(one.id, encode_memory(one, row.tobytes())) for one, row in zip(memories, vectors, strict=True)]
    )
    for question in numbers.standard_normal((10, 4)).astype("<f4"):
        for threshold in (2.0, 0.4, 0.0):
            options: dict[str, Any] = {"threshold": threshold, "now": NOW_MS, "reinforce": False, "exact": exact}
            chosen = await store.recall_by_vector(question, namespace="n", **options)
            # With a range the server returns all that it found.
            brought = await store.recall_by_vector(question, namespace="n", where=Importance.at_least(0), **options)
            assert ids(chosen) == ids(brought)
            assert [hit.score for hit in chosen] == pytest.approx([hit.score for hit in brought])
            assert [hit.explain.exact for hit in chosen if hit.explain] == [
                hit.explain.exact for hit in brought if hit.explain
            ]
            assert {hit.item.namespace for hit in chosen} <= {"n"}
            assert threshold < 2 or len(chosen) == 8
    await store.close()


async def test_many_first_questions_of_a_scope_at_once(engine: Engine, store: MemoryStore) -> None:
    await write(engine, store.name, [memory(f"m{i}", f"[{i}] tea {i}", namespace="n") for i in range(80)])
    questions = [f"[{i}] tea {i}" for i in range(32)]
    for retrieval in ("vector", "hybrid"):
        several = await asyncio.gather(
            *(store.recall(text, namespace="n", k=1, retrieval=retrieval) for text in questions)
        )
        assert [ids(hits) for hits in several] == [[f"m{i}"] for i in range(32)]


async def test_hits_unlike_each_other(engine: Engine, store: MemoryStore) -> None:
    same = [memory(f"same{i}", "[10] tea") for i in range(5)]
    await write(engine, store.name, [*same, memory("other", "[-50] tea"), memory("third", "[60] tea")])
    assert {one[:4] for one in ids(await store.recall("tea", k=3))} == {"same"}
    diverse = ids(await store.recall("tea", k=3, diversity=0.3))
    assert len({one[:4] for one in diverse}) == 3
    assert ids(await store.recall("tea", k=3, diversity=1)) == ids(await store.recall("tea", k=3))
    with pytest.raises(InvalidInputError, match="diversity"):
        await store.recall("tea", diversity=1.5)


class ByLength:
    """Prefers short texts."""

    name = "by-length"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.asked.append((query, len(texts)))
        if query == "fail":
            raise RuntimeError("out of order")
        return [-float(len(text)) for text in texts]


@pytest.mark.parametrize("retrieval", ["vector", "hybrid"])
@pytest.mark.parametrize("depth", [1, 5, 90])
async def test_a_reranker_reads_as_many_as_it_is_let(
    engine: Engine, store_name: str, depth: int, retrieval: Any
) -> None:
    reranker = ByLength()
    store = MemoryStore(
        client=engine,
        name=store_name,
        embed_fn=embed,
        reranker=reranker,
        rerank_depth=depth,
        retrieval=retrieval,
        hybrid=HybridOptions(candidates=8, word_candidates=8),
        weights=BY_RELEVANCE,
    )
    await write(engine, store_name, [memory(f"m{i:02}", f"[{i}] {'tea' * (100 - i)}") for i in range(95)])
    hits = await store.recall("tea", k=4, threshold=2)
    assert reranker.asked == [("tea", depth)]
    assert len([hit for hit in hits if hit.explain and hit.explain.rerank_score is not None]) == min(depth, 4)
    await store.close()


@pytest.mark.parametrize("depth", [0, 2_501, 1.5, True])
async def test_a_depth_that_cannot_be_is_refused(engine: Engine, store_name: str, depth: object) -> None:
    with pytest.raises(ConfigurationError, match="rerank_depth must be a whole number"):
        MemoryStore(client=engine, name=store_name, rerank_depth=depth)  # type: ignore[arg-type]


async def test_a_reranker_has_the_last_word(engine: Engine, store_name: str) -> None:
    reranker = ByLength()
    store = MemoryStore(
        client=engine, name=store_name, embed_fn=embed, reranker=reranker, retrieval="hybrid", weights=BY_RELEVANCE
    )
    await write(engine, store_name, [memory(f"m{i:02}", f"[{i}] {'tea' * (60 - i)}") for i in range(50)])
    plain = await store.recall("tea", k=3, rerank=False)
    assert ids(plain) == ["m00", "m01", "m02"]
    assert reranker.asked == []
    reranked = await store.recall("tea", k=3)
    assert ids(reranked) == ["m19", "m18", "m17"]
    assert reranker.asked == [("tea", 20)]
    assert [hit.explain.rerank_score for hit in reranked if hit.explain] == [
        -float(len(hit.item.content)) for hit in reranked
    ]
    # What is beyond the twenty keeps its place behind them.
    many = await store.recall("tea", k=30)
    assert ids(many)[:20] == [f"m{i:02}" for i in reversed(range(20))]
    assert ids(many)[20:] == ids(await store.recall("tea", k=30, rerank=False))[20:]
    assert [hit.explain.rerank_score for hit in many[20:] if hit.explain] == [None] * 10
    assert len(await store.recall("tea", k=8, diversity=0.5)) == 8
    assert len((await store.context("tea", budget_tokens=2_000)).hits) > 8
    # A vector alone is no question to read.
    assert ids(await store.recall_by_vector(vector_of(""), k=1)) == ["m00"]
    with pytest.raises(RerankingError, match="out of order"):
        await store.recall("fail")
    assert len(await store.recall("fail", rerank=False)) == 8
    await store.close()


async def test_what_is_refused_is_refused_before_anything_is_paid_for(store: MemoryStore) -> None:
    for wrong in ({"retrieval": "semantic"}, {"exact": "yes"}, {"rerank": 2}, {"diversity": -1}, {"diversity": "much"}):
        name = next(iter(wrong))
        with pytest.raises(InvalidInputError, match=name):
            await store.recall("tea", **wrong)


async def test_weights_of_signs_decide(engine: Engine, store_name: str) -> None:
    await write(engine, store_name, [memory("word", "[60] tea"), memory("near", "[1] coffee")])
    for options, first in (
        (HybridOptions(words_weight=1.0), "word"),
        (HybridOptions(words_weight=0.0), "near"),
        (HybridOptions(similarity_weight=1.0, words_weight=0.01), "near"),
    ):
        store = MemoryStore(
            client=engine, name=store_name, embed_fn=embed, retrieval="hybrid", hybrid=options, default_threshold=2.0
        )
        assert ids(await store.recall("tea"))[0] == first
        await store.close()


async def test_a_question_as_long_as_a_document_is_understood_by_its_beginning(
    engine: Engine, store: MemoryStore
) -> None:
    await write(engine, store.name, [memory("word", "[60] swordfish"), memory("other", "[61] tuna")])
    found = await store.recall("swordfish " + "something else entirely 1999 " * 8_000 + " tuna", threshold=2.0)
    assert [relevance(hit).matched for hit in found] == [("swordfish",), ()]


async def test_a_recall_sees_what_was_written_before_it(engine: Engine, store: MemoryStore) -> None:
    """Whoever asks the same as somebody else at the same time must not get an answer from before their own write."""
    await write(engine, store.name, [memory("gone", "[1] tea"), memory("kept", "[2] tea")])
    await store.recall("tea", reinforce=False)

    async def forgets() -> list[str]:
        await store.forget("gone")
        return ids(await store.recall("tea", reinforce=False))

    async def asks() -> None:
        for _ in range(20):
            await store.recall("tea", reinforce=False)

    found, *_ = await asyncio.gather(forgets(), *(asks() for _ in range(8)))
    assert found == ["kept"]


async def test_a_question_about_the_future_is_no_access_in_the_future(engine: Engine, store: MemoryStore) -> None:
    await write(engine, store.name, [memory("a", "[1] tea")])
    for now in (NOW_MS + 1000 * DAY_MS, NOW_MS - 1000 * DAY_MS):
        await store.recall("tea", now=now)
    touched = await store.get("a")
    assert touched is not None
    assert (touched.access_count, touched.last_accessed_at) == (2, NOW_MS)
