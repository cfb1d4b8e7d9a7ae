"""The stems beside a content, where the engine cannot find its words by itself; kept by every way of writing."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory import MemoryDraft, MemoryItem, MemoryStore
from betterdb_agent_memory.engines.base import Engine, Search, Tally, Word
from betterdb_agent_memory.engines.filters import Equals, Filter
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.generations.generation import generation_collection
from betterdb_agent_memory.memory.generations.joined import Joined
from betterdb_agent_memory.memory.words.analysis import Analyzer
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore
from tests.conformance.test_conversations import WordEmbedder

pytestmark = pytest.mark.parametrize("configuration", [FILE, URL, POOLED, CLUSTER], indirect=True)

LETTERS = st.characters(codec="utf-8", exclude_categories=["Cn"])
HOUSES = "Die alten Häuser am Fluss"


async def words_of(store: MemoryStore, engine: Engine, id: str | None) -> str | None:
    assert id is not None
    memories = engine.records(record.memory_collection(store.name))
    [fields] = await memories.read_many([id], (record.CONTENT, record.WORDS))
    assert fields is not None
    words = fields.get(record.WORDS)
    return None if words is None else words.decode()


async def test_every_way_of_writing_stores_the_stems_of_another_language(make_store: MakeStore, engine: Engine) -> None:
    store = make_store(language="german")
    alone = await store.remember(HOUSES)
    [many] = await store.remember_many([MemoryDraft(HOUSES, thread_id="t")])
    [turn] = await store.remember_conversation([HOUSES], thread_id="t")
    stems = await words_of(store, engine, alone)
    assert stems is not None
    assert "haus" in stems.split()
    assert [await words_of(store, engine, result.id) for result in (many, turn)] == [stems, stems]
    await store.update(alone, content="Drei Katzen")
    assert (await words_of(store, engine, alone) or "").split()[-1] == "katz"
    await store.update(alone, importance=1)
    assert (await words_of(store, engine, alone) or "").split()[-1] == "katz"


async def test_a_summary_has_its_stems_too(make_store: MakeStore, engine: Engine) -> None:
    store = make_store(language="german")
    await store.remember_many(["Eins", "Zwei"], thread_id="t")

    async def summarize(items: Sequence[MemoryItem]) -> str:
        return HOUSES

    await store.consolidate(summarize=summarize, thread_id="t")
    [summary] = [item async for item in store.iterate() if item.content == HOUSES]
    assert "haus" in (await words_of(store, engine, summary.id) or "").split()


async def test_an_english_text_needs_none_and_one_without_blanks_does(make_store: MakeStore, engine: Engine) -> None:
    store = make_store()
    id = await store.remember("The old houses at the river")
    assert await words_of(store, engine, id) is None
    await store.update(id, content="東京の古い家")
    assert await words_of(store, engine, id)
    await store.update(id, content="The old houses once more")
    assert await words_of(store, engine, id) is None


ODD = (
    "—", "–", "“", "”", "‘", "’", "…", "\u00a0", "•", "🎉", "«", "（", "）", "\ufeff", "\u200b", "\u00ad", "\n", "\r\n",
    "\\", "\x07", "→", "·", "£", "'", "-", "_", ".", " ", "ﬁ", "ｆｕｌｌ", "½", "Ǆ", "ß", "İ", "é", "x" * 70, "don't",
    "it’s", "will", "the", "東京", "cafe\u0301", "zanzibar", "Running", "O'Neil", "e.g.", "5,000"
)  # fmt: skip
TEXTS = st.lists(
    st.lists(st.one_of(st.sampled_from(ODD), st.text(LETTERS, max_size=4)), min_size=1, max_size=8).map("".join),
    min_size=1,
    max_size=20,
)


@given(texts=TEXTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("language", ["english", "dutch"])
async def test_each_word_of_a_text_finds_it(
    make_store: MakeStore, engine: Engine, language: str, texts: list[str]
) -> None:
    store = make_store(language=language)
    analyzer = Analyzer(language)
    texts = [text for text in texts if text.strip()]
    round = uuid4().hex
    await store.remember_many([MemoryDraft(text, thread_id=f"{round}{n}") for n, text in enumerate(texts)])
    asked = [
        (word, text, Search(1, Filter((Equals(record.THREAD, f"{round}{n}"),)), (word,)))
        for n, text in enumerate(texts)
        for word in analyzer.query(text)
    ]
    memories = engine.records(record.memory_collection(store.name))
    await memories.prepare(None)
    vector = np.ones(8, "<f4").tobytes()
    answers = await memories.search_many(vector, [search for *_, search in asked], fields=(record.THREAD,))
    for (word, text, _), found in zip(asked, answers.neighbours, strict=True):
        is_left_out = analyzer.stored(text) is None and word.stem.endswith("_")
        assert found or (is_left_out and not found.exhausted), (word, text)


async def test_words_without_their_accents_and_capitals_find_them(make_store: MakeStore) -> None:
    store = make_store()
    pairs = [
        ("Zürich", "zurich"),
        ("Zurich", "zürich"),
        ("straße", "STRASSE"),
        ("STRASSE", "straße"),
        ("cafés", "cafe"),
    ]
    for n, (text, query) in enumerate(pairs):
        await store.remember(f"About {text}", thread_id=f"{n}")
        [hit] = await store.recall(query, thread_id=f"{n}", threshold=0, retrieval="hybrid")
        assert hit.explain is not None
        assert hit.explain.relevance is not None
        assert hit.explain.relevance.matched == (query.lower(),)


async def test_what_is_imported_is_found_by_the_language_of_its_new_store(
    make_store: MakeStore, engine: Engine
) -> None:
    german = make_store(language="german")
    id = await german.remember("Die alten Boote am Fluss")
    file = BytesIO()
    await german.export_to(file)
    for language, has_words in (("english", False), ("german", True)):
        other = make_store(language=language, name=f"{german.name}-{language}")
        file.seek(0)
        await other.import_from(file)
        stored = await words_of(other, engine, id)
        assert stored == (await words_of(german, engine, id) if has_words else None)


@pytest.mark.parametrize(
    ("language", "one", "changed", "word"),
    [
        ("german", HOUSES, "Zwei kleine Häuser", Word("häusern", "haus")),
        ("english", "The old houses at the river", "Two small houses", Word("house", "hous")),
    ],
    ids=["stems", "content"],
)
async def test_words_find_memories_while_the_model_is_changed(
    make_store: MakeStore,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    language: str,
    one: str,
    changed: str,
    word: Word,
) -> None:
    for name in ("_GRACE_SECONDS", "_FIRST_GRACE_SECONDS"):
        monkeypatch.setattr(f"betterdb_agent_memory.memory.generations.migration.{name}", 0)
    following = WordEmbedder("following", 24, seed=2)
    store = make_store(embed_fn=WordEmbedder(), next_embed_fn=following, language=language)
    first = await store.remember(one, thread_id="t")
    await store.remember("Drei Katzen", thread_id="t")
    await store.remember(one, thread_id="another")
    await store.migration.start()
    await store.migration.run()
    later = await store.remember("Zwei Katzen", thread_id="t")
    await store.update(later, content=changed)

    found_in = Joined(
        engine.records(record.memory_collection(store.name)), engine.records(generation_collection(store.name, 1))
    )
    scope = Filter((Equals(record.THREAD, "t"),))
    nobody = Word("nobody", "nobody")
    vector = following.vector(one).astype("<f4").tobytes()
    answers = await found_in.search_many(
        vector,
        [Search(5, scope), Search(5, scope, (word,)), Search(5, scope, (nobody,)), Search(1, scope, (word, nobody))],
        fields=(record.CONTENT, record.THREAD),
        tallies=[Tally(scope), Tally(scope, word), Tally(Filter(()), word), Tally(scope, nobody)],
    )
    assert [[row.id for row in found] for found in answers.neighbours][1:] == [[first, later], [], [first]]
    assert len(answers.neighbours[0]) == 3
    assert answers.neighbours[1][0].distance == pytest.approx(0, abs=1e-5)
    assert answers.neighbours[1][1].fields[record.CONTENT] == changed.encode()
    assert answers.tallies == (3, 2, 3, 0)
