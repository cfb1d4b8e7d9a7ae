"""Conversations: turns in order, found by what they answer, whatever happens to them or around them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import (
    ConfigurationError,
    EmbeddingError,
    EngineError,
    InvalidInputError,
    MemoryDraft,
    MemoryItem,
    MemoryScope,
    MemoryStore,
    Progress,
    RememberResult,
    VersionConflictError,
)
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine, RecordChange, RecordWrite
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.conversations import ConversationMessage
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.generations.generation import Generation, Standing, generation_collection
from betterdb_agent_memory.memory.sessions import Sessions
from betterdb_agent_memory.memory.turns import session_key, turn_id
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore

# What differs between clients is below the verbs used here.
pytestmark = pytest.mark.parametrize("configuration", [FILE, URL, POOLED, CLUSTER], indirect=True)


class WordEmbedder:
    """Words hashed into a vector; another seed is another model. It refuses texts that hold `refuses`."""

    default_threshold = 2.0

    def __init__(self, name: str = "words", dimensions: int = 16, seed: int = 1) -> None:
        self.name = name
        self.dimensions = dimensions
        self.refuses: str | None = None
        self.hangs = False
        self.calls: list[list[str]] = []
        self._seed = seed

    def vector(self, text: str) -> np.ndarray:
        vector = np.zeros(self.dimensions)
        for word in text.lower().split():
            vector += np.random.default_rng([self._seed, *word.encode()]).standard_normal(self.dimensions)
        return vector

    async def embed_query(self, text: str) -> np.ndarray:
        return self.vector(text)

    async def embed_documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self.hangs:
            await asyncio.sleep(60)
        if self.refuses is not None and any(self.refuses in text for text in texts):
            raise ValueError("cannot embed this")
        self.calls.append([*texts])
        return [self.vector(text) for text in texts]


@pytest.fixture
def words() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def talk(make_store: MakeStore, words: WordEmbedder) -> MemoryStore:
    return make_store(embed_fn=words)


def expected(embedder: WordEmbedder, own: str, *neighbours: str) -> np.ndarray:
    """The vector of a turn by the formula that the documentation states."""

    def unit(vector: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = vector / np.linalg.norm(vector)
        return scaled

    u = unit(embedder.vector(own))
    window = unit(u + sum((unit(embedder.vector(text)) for text in neighbours), np.zeros(embedder.dimensions)))
    return unit(0.5 * u + 0.5 * window)


async def vector_of(store: MemoryStore, engine: Engine, id: str | None, generation: int | None = None) -> np.ndarray:
    """The vector in a memory, or the one of the next model beside it."""
    assert id is not None
    memories = record.memory_collection(store.name)
    collection = memories if generation is None else generation_collection(store.name, generation)
    [fields] = await engine.records(collection).read_many([id], (record.VECTOR,))
    assert fields is not None
    return np.frombuffer(fields[record.VECTOR], "<f4")


async def assert_windows(
    store: MemoryStore, engine: Engine, embedder: WordEmbedder, session: str, generation: int | None = None
) -> None:
    """Every turn of the session has the vector of its neighbours as they are now."""
    items = {item.turn: item async for item in store.iterate() if item.session == session and item.turn is not None}
    assert items

    def said(turn: int) -> list[str]:
        item = items.get(turn)
        if item is None:
            return []
        return [f"{item.speaker}: {item.content}" if item.speaker else item.content]

    for turn, item in items.items():
        vector = expected(embedder, *said(turn), *said(turn - 1), *said(turn + 1))
        stored = await vector_of(store, engine, item.id, generation)
        assert stored == pytest.approx(vector, abs=1e-5), (turn, item.content)


def ids_of(results: Sequence[RememberResult]) -> list[str]:
    assert [result.outcome for result in results] == ["stored"] * len(results)
    return [result.id for result in results if result.id is not None]


async def items_of(store: MemoryStore, results: Sequence[RememberResult]) -> list[MemoryItem]:
    return [item for item in await store.get_many(ids_of(results)) if item is not None]


async def test_a_short_answer_is_found_by_what_it_answers(make_store: MakeStore) -> None:
    talk = make_store(embed_fn=WordEmbedder(dimensions=64))
    said = ["shall we take the hotel at the river in lisbon", "yes, that one", "good"]
    other = [f"bananas ripen slowly number {number}" for number in range(20)]
    await talk.remember_conversation([*other, *said], thread_id="mixed")
    await talk.remember_many([*other, *said], thread_id="plain")

    async def similarity_of_the_answer(thread: str) -> tuple[int, float]:
        """Its place among the hits, and 1 - distance."""
        hits = await talk.recall("the hotel at the river in lisbon", k=23, thread_id=thread, reinforce=False)
        place = [hit.item.content for hit in hits].index("yes, that one")
        return place, 1 - hits[place].distance

    place, mixed = await similarity_of_the_answer("mixed")
    _, plain = await similarity_of_the_answer("plain")
    assert place == 1
    assert mixed > plain + 0.2


async def test_order_session_speaker_and_time_are_kept(talk: MemoryStore, clock: object) -> None:
    when = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    results = await talk.remember_conversation(
        [
            ConversationMessage("Hi!", speaker="Ann", occurred_at=when, metadata={"channel": 3}),
            {"content": "Hello.", "speaker": "Ben", "importance": 0.9, "tags": ["own"]},
            {"role": "assistant", "content": "How can I help?"},
            {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "Where"}, {"text": "is it?"}]},
            "no name",
        ],
        session="8 May",
        thread_id="t",
        namespace="team",
        tags=["all"],
        importance=0.3,
        source="chat",
    )
    items = await items_of(talk, results)
    assert [item.content for item in items] == ["Hi!", "Hello.", "How can I help?", "Where\nis it?", "no name"]
    assert [item.speaker for item in items] == ["Ann", "Ben", "assistant", "Ann", None]
    assert [item.turn for item in items] == [0, 1, 2, 3, 4]
    assert {item.session for item in items} == {"8 May"}
    assert {(item.thread_id, item.namespace, item.source) for item in items} == {("t", "team", "chat")}
    assert [item.occurred_at for item in items] == [round(when.timestamp() * 1000), None, None, None, None]
    assert [item.importance for item in items] == [0.3, 0.9, 0.3, 0.3, 0.3]
    assert [item.tags for item in items] == [["all"], ["own"], ["all"], ["all"], ["all"]]
    assert items[0].metadata == {"channel": 3}
    key = session_key("8 May", MemoryScope("t", None, "team"))
    assert [item.id for item in items] == [turn_id(key, turn) for turn in range(5)]
    assert [item.turn async for item in talk.iterate(thread_id="t")] == [0, 1, 2, 3, 4]


async def test_a_later_call_goes_on_and_mixes_the_turn_before_anew(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    first = await talk.remember_conversation([{"content": "alpha", "speaker": "Ann"}, "beta"], thread_id="t")
    assert await vector_of(talk, engine, first[1].id) == pytest.approx(expected(words, "beta", "Ann: alpha"), abs=1e-5)
    words.calls.clear()
    second = await talk.remember_conversation(["gamma"], thread_id="t")
    assert len(words.calls) == 1
    assert [item.turn for item in await items_of(talk, [*first, *second])] == [0, 1, 2]
    assert await vector_of(talk, engine, first[1].id) == pytest.approx(
        expected(words, "beta", "Ann: alpha", "gamma"), abs=1e-5
    )
    await assert_windows(talk, engine, words, "t")
    assert [item.version for item in await items_of(talk, first)] == [1, 1]


async def test_sessions_of_a_thread_are_apart(talk: MemoryStore, engine: Engine, words: WordEmbedder) -> None:
    for session in ("monday", "tuesday"):
        await talk.remember_conversation([f"{session} one", f"{session} two"], session=session, thread_id="t")
    await talk.remember_conversation(["elsewhere"], session="monday", thread_id="other")
    for session in ("monday", "tuesday"):
        items = [item async for item in talk.iterate(thread_id="t") if item.session == session]
        assert [item.turn for item in items] == [0, 1]
        for item, neighbour in zip(items, reversed(items), strict=True):
            vector = expected(words, item.content, neighbour.content)
            assert await vector_of(talk, engine, item.id) == pytest.approx(vector, abs=1e-5)


async def test_without_thread_and_session_each_call_is_a_session_of_its_own(talk: MemoryStore) -> None:
    one = await items_of(talk, await talk.remember_conversation(["a", "b"]))
    two = await items_of(talk, await talk.remember_conversation(["c"]))
    assert [item.turn for item in (*one, *two)] == [0, 1, 0]
    assert one[0].session == one[1].session != two[0].session
    go_on = await items_of(talk, await talk.remember_conversation(["d"], session=one[0].session))
    assert (go_on[0].turn, go_on[0].session) == (2, one[0].session)


async def test_workers_that_append_at_once_lose_nothing(
    make_store: MakeStore, engine: Engine, words: WordEmbedder
) -> None:
    workers = [make_store(embed_fn=words) for _ in range(4)]
    await workers[0].remember_conversation(["the beginning"], thread_id="t")
    results = await asyncio.gather(
        *(
            workers[number % 4].remember_conversation([f"{number} says one", f"{number} says two"], thread_id="t")
            for number in range(12)
        )
    )
    for result in results:
        first, second = await items_of(workers[0], result)
        assert (first.turn or 0) + 1 == second.turn
    turns = [item.turn async for item in workers[0].iterate(thread_id="t")]
    assert sorted(turn for turn in turns if turn is not None) == list(range(25))
    await assert_windows(workers[0], engine, words, "t")


async def test_an_update_mixes_the_turn_and_its_neighbours_anew(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    ids = ids_of(await talk.remember_conversation(["one", "two", "three", "four", "five"], thread_id="t"))
    words.calls.clear()
    item = await talk.update(ids[2], content="something else")
    assert (item.content, item.turn, item.version) == ("something else", 2, 2)
    assert len(words.calls) == 1
    await assert_windows(talk, engine, words, "t")
    unchanged = await vector_of(talk, engine, ids[2])
    await talk.update(ids[2], importance=0.9)
    assert (await vector_of(talk, engine, ids[2]) == unchanged).all()


async def test_the_same_content_once_more_mixes_the_neighbours_anew(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    ids = ids_of(await talk.remember_conversation(["one", "two", "three"], thread_id="t"))
    await engine.records(record.memory_collection(talk.name)).delete_many([ids[1]])  # nobody sees to its neighbours
    assert (await talk.update(ids[0], content="one")).version == 1
    assert await vector_of(talk, engine, ids[0]) == pytest.approx(expected(words, "one"), abs=1e-5)


async def test_whatever_happens_at_once_the_windows_are_right_afterwards(
    make_store: MakeStore, engine: Engine, words: WordEmbedder
) -> None:
    workers = [make_store(embed_fn=words) for _ in range(3)]
    ids = ids_of(await workers[0].remember_conversation([f"turn {number}" for number in range(12)], thread_id="t"))
    await asyncio.gather(
        *(workers[number % 3].update(ids[number], content=f"changed {number}") for number in range(2, 12, 2)),
        *(workers[number % 3].forget(ids[number]) for number in (3, 4, 7, 11)),
        *(workers[number % 3].remember_conversation([f"later {number}"], thread_id="t") for number in range(4)),
        return_exceptions=True,
    )
    left = [item.turn or 0 async for item in workers[0].iterate()]
    assert sorted(left) == [0, 1, 2, 5, 6, 8, 9, 10, 12, 13, 14, 15]
    await assert_windows(workers[0], engine, words, "t")


async def test_nothing_of_a_forgotten_turn_stays_in_its_neighbours(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    ids = ids_of(await talk.remember_conversation(["one", "two", "three", "four", "five"], thread_id="t"))
    assert await talk.forget(ids[2])
    assert await vector_of(talk, engine, ids[1]) == pytest.approx(expected(words, "two", "one"), abs=1e-5)
    assert await vector_of(talk, engine, ids[3]) == pytest.approx(expected(words, "four", "five"), abs=1e-5)
    assert await talk.forget_many([ids[0], ids[1], "nobody"]) == [True, True, False]
    await assert_windows(talk, engine, words, "t")
    after = ids_of(await talk.remember_conversation(["six"], thread_id="t"))
    assert [item.turn for item in await talk.get_many(after) if item] == [5]
    await assert_windows(talk, engine, words, "t")


async def test_what_remains_of_a_scope_holds_nothing_of_the_rest(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    said = [{"content": f"number {number}", "tags": ["secret"] if number in (1, 2, 5) else []} for number in range(7)]
    await talk.remember_conversation(said, thread_id="t")
    assert await talk.forget_by_scope(thread_id="t", tags=["secret"]) == 3
    assert sorted([item.turn or 0 async for item in talk.iterate()]) == [0, 3, 4, 6]
    await assert_windows(talk, engine, words, "t")
    assert await talk.forget_by_scope(thread_id="t") == 4


async def test_forgetting_says_when_a_share_of_the_text_is_left_and_can_be_repeated(
    talk: MemoryStore, make_store: MakeStore, engine: Engine, words: WordEmbedder
) -> None:
    ids = ids_of(await talk.remember_conversation(["one", "two", "three"], thread_id="t"))
    words.refuses = "one"
    with pytest.raises(EmbeddingError) as failure:
        await talk.forget(ids[1])
    assert "forget the same ids once more" in "".join(failure.value.__notes__)
    assert await talk.get(ids[1]) is None
    words.refuses = None
    with pytest.raises(ConfigurationError):
        await make_store(embed_fn=None).forget(ids[1])
    assert await talk.forget(ids[1]) is False
    await assert_windows(talk, engine, words, "t")


async def test_what_a_forget_that_broke_off_left_is_taken_out_by_the_next_call(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    said = [{"content": f"number {number}", "tags": ["secret"] if number in (1, 5) else []} for number in range(10)]
    ids = ids_of(await talk.remember_conversation(said, thread_id="t"))

    async def break_off(forgetting: Awaitable[object]) -> None:
        failures = (await talk.stats()).background_failures
        words.hangs = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forgetting, 0.05)
        words.hangs = False
        assert (await talk.stats()).background_failures == failures + 1

    await break_off(talk.forget(ids[3]))
    await talk.remember_conversation(["next"], thread_id="t")
    await assert_windows(talk, engine, words, "t")
    await break_off(talk.forget_by_scope(thread_id="t", tags=["secret"]))
    await talk.update(ids[8], content="other")
    await assert_windows(talk, engine, words, "t")
    await break_off(talk.forget(ids[7]))
    await talk.forget(ids[0])
    await assert_windows(talk, engine, words, "t")
    assert await engine.values.read_map(f"{talk.name}:__mem_mending") == {}


@pytest.mark.parametrize("age_ms", [0, 60_000], ids=["a note of one at work", "a note of one that was killed"])
async def test_notes_of_killed_workers_are_worked_off_at_start(
    talk: MemoryStore, engine: Engine, words: WordEmbedder, age_ms: int
) -> None:
    ids = ids_of(await talk.remember_conversation(["one", "two", "three"], thread_id="t"))
    await engine.records(record.memory_collection(talk.name)).delete_many([ids[1]])
    notes = f"{talk.name}:__mem_mending"
    at = b"%d" % (system_clock() - age_ms)
    await engine.values.write_map(notes, {f"{ids[0]}:killed": at, f"{ids[2]}:killed": at})
    await talk.ensure_index()
    await assert_windows(talk, engine, words, "t")
    assert len(await engine.values.read_map(notes)) == (0 if age_ms else 2)


KILLED_APPEND = """
import asyncio, os, signal, sys
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory.mending import Mender
from tests.conformance.test_conversations import WordEmbedder

async def put(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

async def append(place, name):
    store = MemoryStore(client=open_engine(place), name=name, embed_fn=WordEmbedder())
    await store.remember_conversation(["one", "two"], session="s", thread_id="t")
    Mender.put = put  # the turns are written, the one before is not mixed with them yet
    await store.remember_conversation(["three"], session="s", thread_id="t")

asyncio.run(append(*sys.argv[1:]))
"""


async def test_a_turn_whose_next_one_was_appended_by_a_killed_worker_is_mixed_with_it(
    talk: MemoryStore,
    engine: Engine,
    words: WordEmbedder,
    configuration: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    servers = {URL: "valkey_server", CLUSTER: "valkey_cluster"}
    is_server = configuration in servers
    place = request.getfixturevalue(servers[configuration]).url if is_server else str(tmp_path / "memories.db")
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED_APPEND, place, talk.name), cwd=Path(__file__).parents[2]
    )
    assert await worker.wait() == -signal.SIGKILL
    before = turn_id(session_key("s", MemoryScope(thread_id="t")), 1)
    assert await vector_of(talk, engine, before) == pytest.approx(expected(words, "two", "one"), abs=1e-5)
    await talk.ensure_index()
    await assert_windows(talk, engine, words, "s")
    # The note is the worker's, as long as it could be at work.
    notes = f"{talk.name}:__mem_mending"
    [note] = await engine.values.read_map(notes)
    await engine.values.write_map(notes, {note: b"%d" % (system_clock() - 60_000)})
    await talk.remember_conversation(["somewhere else"], thread_id="u")
    assert await engine.values.read_map(notes) == {}


async def test_appends_that_are_cancelled_anywhere_leave_what_the_next_one_puts_right(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    await talk.remember_conversation(["first"], session="s", thread_id="t")
    for step in range(24):
        appending = asyncio.create_task(talk.remember_conversation([f"number {step}"], session="s", thread_id="t"))
        await asyncio.wait([appending], timeout=0.0004 * step)
        appending.cancel()
        await asyncio.wait([appending])
    # What was cancelled may still be on its way to a file, and be written after it was looked at.
    for content in ("last but one", "last"):
        await talk.remember_conversation([content], session="s", thread_id="t")
    await assert_windows(talk, engine, words, "s")
    assert await engine.values.read_map(f"{talk.name}:__mem_mending") == {}


async def test_an_update_that_changes_nothing_leaves_no_note(talk: MemoryStore, engine: Engine) -> None:
    ids = ids_of(await talk.remember_conversation(["one", "two"], thread_id="t"))
    with pytest.raises(VersionConflictError):
        await talk.update(ids[0], content="other", if_version=7)
    assert await engine.values.read_map(f"{talk.name}:__mem_mending") == {}


@pytest.mark.parametrize("dimensions", [16, 24], ids=["the same length", "another length"])
async def test_a_change_of_models_redoes_the_windows(
    make_store: MakeStore,
    engine: Engine,
    words: WordEmbedder,
    dimensions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_GRACE_SECONDS", "_FIRST_GRACE_SECONDS"):
        monkeypatch.setattr(f"betterdb_agent_memory.memory.generations.migration.{name}", 0)
    following = WordEmbedder("following", dimensions, seed=2)
    store = make_store(embed_fn=words, next_embed_fn=following)
    said = [{"content": f"number {number}", "speaker": "Ann"} for number in range(9)]
    ids = ids_of(await store.remember_conversation(said, thread_id="t"))
    await store.migration.start()
    await store.migration.run(batch_size=4)
    await store.update(ids[2], content="changed meanwhile")
    await store.forget(ids[6])
    await store.remember_conversation(["said meanwhile"], thread_id="t")
    await assert_windows(store, engine, words, "t")
    await assert_windows(store, engine, following, "t", generation=1)
    await store.migration.switch()
    await store.migration.finish(batch_size=4)
    await assert_windows(store, engine, following, "t")
    await store.remember_conversation(["said afterwards"], thread_id="t")
    await assert_windows(store, engine, following, "t")


async def test_a_neighbour_that_is_changed_while_a_vector_is_made_is_in_it(
    make_store: MakeStore, engine: Engine, words: WordEmbedder
) -> None:
    store = make_store(embed_fn=words)
    ids = ids_of(await store.remember_conversation(["one", "two"], thread_id="t"))
    memories = engine.records(record.memory_collection(store.name))

    class Overtaken(WordEmbedder):
        async def embed_documents(self, texts: Sequence[str]) -> list[np.ndarray]:
            made = await super().embed_documents(texts)
            await memories.change_many([RecordChange(ids[1], sets={record.CONTENT: b"three"})])
            return made

    following = Overtaken("following")
    await engine.records(generation_collection(store.name, 1)).prepare(16)

    async def standing() -> Standing:
        return "open"

    generation = Generation(
        engine,
        store.name,
        1,
        memories,
        CheckedEmbedder(following, on_call=lambda: None),
        standing=standing,
        is_closed=lambda: False,
    )
    assert (await generation.refresh([ids[0]])).failed == {}
    assert await vector_of(store, engine, ids[0], generation=1) == pytest.approx(
        expected(following, "one", "three"), abs=1e-5
    )


@pytest.mark.parametrize("vectors", [True, False], ids=["with vectors", "without"])
async def test_an_export_brings_conversations_along_and_they_go_on(
    make_store: MakeStore, engine: Engine, words: WordEmbedder, vectors: bool
) -> None:
    store = make_store(embed_fn=words)
    said = [{"content": f"number {number}", "speaker": "Ann", "occurred_at": number} for number in range(5)]
    results = await store.remember_conversation(said, thread_id="t", session="s")
    before = await items_of(store, results)
    file = BytesIO()
    await store.export_to(file, vectors=vectors)
    other = make_store(embed_fn=words, name=f"{store.name}2")
    file.seek(0)
    assert (await other.import_from(file)).imported == 5
    assert await items_of(other, results) == before
    await assert_windows(other, engine, words, "s")
    [later] = await items_of(other, await other.remember_conversation(["number 5"], thread_id="t", session="s"))
    assert later.turn == 5
    await assert_windows(other, engine, words, "s")


async def test_an_imported_session_goes_on_behind_its_last_turn(make_store: MakeStore, words: WordEmbedder) -> None:
    store = make_store(embed_fn=words)
    ids = ids_of(await store.remember_conversation(["one", "two", "three"], thread_id="t"))
    await store.forget_many(ids[:2])
    file = BytesIO()
    await store.export_to(file)
    other = make_store(embed_fn=words, name=f"{store.name}2")
    file.seek(0)
    await other.import_from(file)
    later = await items_of(other, await other.remember_conversation(["four", "five"], thread_id="t"))
    assert [item.turn for item in later] == [3, 4]


async def test_turns_that_are_imported_one_by_one_find_their_neighbours(
    make_store: MakeStore, engine: Engine, words: WordEmbedder
) -> None:
    store = make_store(embed_fn=words)
    await store.remember_conversation(["one", "two", "three", "four"], thread_id="t")
    file = BytesIO()
    await store.export_to(file, vectors=False)
    header, *lines = file.getvalue().splitlines(keepends=True)
    other = make_store(embed_fn=words, name=f"{store.name}2")
    for line in (lines[2], lines[0], lines[3], lines[1]):
        await other.import_from(BytesIO(header + line))
    await assert_windows(other, engine, words, "t")


async def test_a_lost_count_overwrites_nothing(talk: MemoryStore, engine: Engine, words: WordEmbedder) -> None:
    for lost in range(2):
        await talk.remember_conversation([f"{lost} {number}" for number in range(3)], thread_id="t")
        await engine.values.delete(f"{talk.name}:__mem_sessions")
    await talk.remember_conversation(["at the end"], thread_id="t")
    found = {item.turn: item.content async for item in talk.iterate()}
    assert [found[turn] for turn in sorted(turn for turn in found if turn is not None)] == [
        *(f"{lost} {number}" for lost in range(2) for number in range(3)),
        "at the end",
    ]


async def test_order_is_kept_when_the_count_is_lost(talk: MemoryStore, engine: Engine, words: WordEmbedder) -> None:
    await talk.remember_conversation(["old 0", "old 1", "old 2"], thread_id="t")
    await engine.values.delete(f"{talk.name}:__mem_sessions")
    await talk.remember_conversation([f"new {number}" for number in range(6)], thread_id="t")
    found = {item.turn or 0: item.content async for item in talk.iterate()}
    assert [found[turn] for turn in sorted(found)] == [*(f"old {n}" for n in range(3)), *(f"new {n}" for n in range(6))]
    await assert_windows(talk, engine, words, "t")


async def test_what_follows_a_turn_whose_place_was_taken_stays_behind_it(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    [first] = ids_of(await talk.remember_conversation(["old"], thread_id="t"))
    key = first.rpartition("-")[0]
    memories = engine.records(record.memory_collection(talk.name))
    [fields] = await memories.read_many([first], None)
    assert fields is not None
    taken = {**fields, record.CONTENT: b"taken", record.TURN: b"3"}
    await memories.write_many([RecordWrite(turn_id(key, 3), taken)])
    results = await talk.remember_conversation([f"new {number}" for number in range(5)], thread_id="t")
    assert [item.content for item in await items_of(talk, results)] == [f"new {number}" for number in range(5)]
    assert [item.turn for item in await items_of(talk, results)] == [1, 2, 6, 7, 8]
    for turn in (1, 2, 6, 7, 8):
        near = [item async for item in talk.iterate() if abs((item.turn or 0) - turn) <= 1]
        texts = [item.content for item in sorted(near, key=lambda item: item.turn != turn)]
        stored = await vector_of(talk, engine, turn_id(key, turn))
        assert stored == pytest.approx(expected(words, *texts), abs=1e-5), turn


async def test_a_count_that_is_no_number_is_said(talk: MemoryStore, engine: Engine) -> None:
    [first] = ids_of(await talk.remember_conversation(["old"], thread_id="t"))
    key = first.rpartition("-")[0]
    await engine.values.write_map(f"{talk.name}:__mem_sessions", {key: b"abc"})
    [result] = await talk.remember_conversation(["new"], thread_id="t")
    assert isinstance(result.error, EngineError)
    assert f"field {key} of {talk.name}:__mem_sessions is b'abc'" in str(result.error)
    await engine.values.remove_fields(f"{talk.name}:__mem_sessions", [key])
    assert [item.turn for item in await items_of(talk, await talk.remember_conversation(["new"], thread_id="t"))] == [1]


async def test_numbers_of_turns_that_could_not_be_stored_are_given_back(talk: MemoryStore, engine: Engine) -> None:
    ids_of(await talk.remember_conversation(["one", "two"], thread_id="t"))
    key = session_key("t", MemoryScope("t"))
    sessions = Sessions(engine.values, engine.records(record.memory_collection(talk.name)), talk.name)

    async def allot(count: int) -> int:
        return (await sessions.allot({key: (count, (await sessions.ends([key]))[key])}))[key]

    assert await allot(3) == 2
    await sessions.give_back({key: (2, 5)})
    assert await allot(3) == 2
    assert await allot(1) == 5  # somebody else has gone on: then nothing is given back
    await sessions.give_back({key: (2, 5)})
    assert await allot(1) == 6


async def test_sessions_that_we_name_leave_no_count(talk: MemoryStore, engine: Engine, words: WordEmbedder) -> None:
    results = await talk.remember_conversation([f"number {number}" for number in range(501)])
    assert await engine.values.read_map(f"{talk.name}:__mem_sessions") == {}
    first, before, last = await talk.get_many([results[place].id or "" for place in (0, 499, 500)])
    assert first is not None
    assert before is not None
    assert last is not None
    assert first.session == last.session
    assert (before.turn, last.turn) == (499, 500)
    vector = expected(words, "number 499", "number 498", "number 500")
    assert await vector_of(talk, engine, before.id) == pytest.approx(vector, abs=1e-5)
    [later] = await items_of(talk, await talk.remember_conversation(["later"], session=first.session))
    assert later.turn == 501


async def test_threads_of_one_call_are_embedded_together(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    for thread in range(2):
        await talk.remember_many([f"before {thread}"], thread_id=str(thread), context="window")
    words.calls.clear()
    drafts = [MemoryDraft(f"said {number}", thread_id=str(number % 3)) for number in range(9)]
    ids_of(await talk.remember_many(drafts, context="window"))
    assert len(words.calls) == 1
    for thread in range(3):
        await assert_windows(talk, engine, words, str(thread))


async def test_a_seam_between_imported_turns_and_others_is_mixed(
    make_store: MakeStore, engine: Engine, words: WordEmbedder
) -> None:
    store = make_store(embed_fn=words)
    await store.remember_conversation(["one", "two", "three", "four"], thread_id="t")
    file = BytesIO()
    await store.export_to(file)
    header, *lines = file.getvalue().splitlines(keepends=True)
    other = make_store(embed_fn=words, name=f"{store.name}2")
    for part in (lines[:2], lines[3:], lines[2:3]):
        result = await other.import_from(BytesIO(header + b"".join(part)))
        assert (result.imported, result.conflicts, result.embedded) == (len(part), 0, 0)
    await assert_windows(other, engine, words, "t")
    assert (await other.import_from(BytesIO(file.getvalue()))).conflicts == 0


async def test_turns_under_the_ids_of_others_are_counted_as_conflicts(
    make_store: MakeStore, engine: Engine, words: WordEmbedder
) -> None:
    one = make_store(embed_fn=words)
    other = make_store(embed_fn=words, name=f"{one.name}-other")
    await one.remember_conversation([f"one {number}" for number in range(4)], thread_id="t")
    await other.remember_conversation(["other 0", "other 1"], thread_id="t")
    file = BytesIO()
    await one.export_to(file)
    file.seek(0)
    result = await other.import_from(file)
    assert (result.imported, result.existing, result.conflicts) == (2, 2, 2)
    await assert_windows(other, engine, words, "t")


async def test_what_cannot_be_embedded_leaves_no_gap(talk: MemoryStore, engine: Engine, words: WordEmbedder) -> None:
    words.refuses = "bad"
    results = await talk.remember_conversation(["one", {"content": 7}, "bad", "two", {"kontent": "x"}], thread_id="t")
    assert [result.outcome for result in results] == ["stored", "rejected", "rejected", "stored", "rejected"]
    assert isinstance(results[1].error, InvalidInputError)
    assert isinstance(results[2].error, EmbeddingError)
    assert [result.id for result in results if result.error is not None] == [None] * 3
    assert [item.turn for item in await items_of(talk, [results[0], results[3]])] == [0, 1]
    await assert_windows(talk, engine, words, "t")


async def test_long_conversations_are_told_of_and_mixed_across_batches(
    talk: MemoryStore, engine: Engine, words: WordEmbedder
) -> None:
    told: list[Progress] = []
    results = await talk.remember_conversation(
        [f"number {number}" for number in range(520)], thread_id="t", on_progress=told.append
    )
    assert [(progress.done, progress.total) for progress in told] == [(500, 520), (520, 520)]
    assert [item.turn for item in await items_of(talk, results)] == list(range(520))
    for turn in (498, 499, 500, 501):
        vector = expected(words, *(f"number {near}" for near in (turn, turn - 1, turn + 1)))
        assert await vector_of(talk, engine, results[turn].id) == pytest.approx(vector, abs=1e-5)


async def test_remember_many_mixes_with_context_only(talk: MemoryStore, engine: Engine, words: WordEmbedder) -> None:
    plain = ids_of(await talk.remember_many(["one", "two"], thread_id="t"))
    raw = words.vector("one").astype(np.float32)
    assert (await vector_of(talk, engine, plain[0]) == raw).all()
    drafts: list[MemoryDraft | dict[str, str]] = [
        MemoryDraft("three", subject="x", thread_id="t"),
        {"content": "five", "thread_id": "u"},
    ]
    turns = await talk.remember_many(drafts, context="window")
    assert [(item.thread_id, item.session, item.turn, item.subject) for item in await items_of(talk, turns)] == [
        ("t", "t", 0, "x"),
        ("u", "u", 0, None),
    ]
    await talk.remember_many(["four"], thread_id="t", context="window")
    await assert_windows(talk, engine, words, "t")
    await assert_windows(talk, engine, words, "u")


async def test_bad_arguments_are_refused_before_anything_is_paid_for(talk: MemoryStore, words: WordEmbedder) -> None:
    for context in ("windows", 1, True):
        with pytest.raises(InvalidInputError, match=f"context is 'window' or None, got {context!r}"):
            await talk.remember_many(["x"], context=context)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="on_duplicate must be 'keep', got 'merge'"):
        await talk.remember_many(["x"], context="window", on_duplicate="merge")
    for messages in ("x", {"content": "x"}, ConversationMessage("x"), 7):
        with pytest.raises(InvalidInputError, match="takes a list of messages"):
            await talk.remember_conversation(messages)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="session must be text, got int"):
        await talk.remember_conversation(["x"], session=7)  # type: ignore[arg-type]
    [own_id] = await talk.remember_many([MemoryDraft("x", id="mine")], context="window")
    assert "cannot be 'mine'" in str(own_id.error)
    bad: list[Any] = [
        {"speaker": "Ann"},
        {"content": "x", "speaker": 7},
        {"content": ["x"]},
        {"content": "x", "who": 1},
    ]
    results = await talk.remember_conversation([*bad, 7])  # type: ignore[list-item]
    assert [str(result.error).partition(",")[0].partition(";")[0] for result in results] == [
        "a message needs content",
        "speaker must be text",
        "a part of a message's content must be a mapping",
        "a message has no field 'who'",
        "a message is given as text",
    ]
    assert not words.calls


async def test_a_limit_of_a_scope_holds_for_conversations(make_store: MakeStore, words: WordEmbedder) -> None:
    store = make_store(embed_fn=words, max_items_per_scope=3)
    ids_of(await store.remember_conversation([f"number {number}" for number in range(5)], thread_id="t"))
    assert len([item async for item in store.iterate()]) == 3


async def test_round_trips(talk: MemoryStore, engine: Engine) -> None:
    await talk.remember_conversation(["warm"], thread_id="warm")
    await talk.update(ids_of(await talk.remember_conversation(["warm", "warm"], thread_id="warm"))[0], content="warmer")
    if not engine.round_trips:
        pytest.skip("a file is asked without any")

    async def cost(turns: int, thread: str) -> int:
        before = engine.round_trips
        ids_of(await talk.remember_conversation([f"number {n}" for n in range(turns)], thread_id=thread))
        return engine.round_trips - before

    assert [await cost(turns, str(turns)) for turns in (1, 500)] == [5, 5]
    assert [await cost(turns, "500") for turns in (1, 500)] == [7, 7]
    ids = ids_of(await talk.remember_conversation(["one", "two", "three"], thread_id="t"))
    before = engine.round_trips
    await talk.update(ids[1], content="other")
    assert engine.round_trips - before == 8
    before = engine.round_trips
    await talk.forget(ids[1])
    assert engine.round_trips - before == 8
    before = engine.round_trips
    ids_of(await talk.remember_conversation(["in a session", "of its own"]))
    assert engine.round_trips - before == 2
    before = engine.round_trips
    ids_of(await talk.remember_many([MemoryDraft(f"{n}", thread_id=f"many {n}") for n in range(40)], context="window"))
    assert engine.round_trips - before == 5
