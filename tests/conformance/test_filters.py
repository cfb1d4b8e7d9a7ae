"""Promise: a condition means the same on every engine, and is never answered by too few or too many."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory import (
    AccessCount,
    CreatedAt,
    Entity,
    Id,
    Importance,
    InvalidInputError,
    Kind,
    MemoryDraft,
    MemoryItem,
    MemoryListOptions,
    MemoryStore,
    OccurredAt,
    Session,
    Source,
    Speaker,
    Subject,
    Tag,
)
from betterdb_agent_memory.engines.base import Engine, RecordChange
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.generations import reindexing
from betterdb_agent_memory.memory.where import Where
from tests.conditions import (
    ENTITIES,
    IDS,
    IMPORTANCES,
    KIND_NAMES,
    LABELS,
    OCCURRENCES,
    TAGS,
    Condition,
    Leaf,
    conditions,
)
from tests.conformance.conftest import (
    BLOCKING_POOL,
    CONFIGURATIONS,
    FILE,
    MEMORY,
    POOL,
    PROTOCOLS,
    SINGLE,
    URL,
    MakeStore,
    TestClock,
)
from tests.embedding import AHEAD, DIMENSIONS, at_angle
from tests.servers import ValkeyServer

QUERY = [1.0] + [0.0] * (DIMENSIONS - 1)
MAIN = [FILE, MEMORY, URL]
# On one server: an index of another package is made there directly.
ON_SERVERS = [URL, POOL, BLOCKING_POOL, SINGLE, *PROTOCOLS]


def drafts() -> list[MemoryDraft]:
    """Memories that differ in one thing or in all, each field sometimes missing."""
    made = []
    tags = [tag for tag in TAGS if tag != "never"]
    entities = [entity for entity in ENTITIES if entity != "never"]
    for number, id in enumerate(IDS):
        made.append(
            MemoryDraft(
                f"memory {id}",
                importance=IMPORTANCES[number % len(IMPORTANCES)],
                tags=[tags[(3 * number + step) % len(tags)] for step in range(number % 5)] or None,
                source=None if number % 5 == 0 else LABELS[number % (len(LABELS) - 1)],
                subject=None if number % 3 == 0 else LABELS[number // 3 % (len(LABELS) - 1)],
                thread_id=[None, "t", "T", "t,u"][number % 4],
                occurred_at=OCCURRENCES[number % len(OCCURRENCES)],
                ttl=3600 if number % 7 == 0 else None,
                id=id,
                kind=None if number % 4 == 1 else KIND_NAMES[number % (len(KIND_NAMES) - 1)],
                entities=[entities[(5 * number + step) % len(entities)] for step in range(number % 4)] or None,
            )
        )
    return made


async def remember_drafts(store: MemoryStore, engine: Engine, given: Sequence[MemoryDraft]) -> None:
    """Store them, some with a session and a speaker, which other memories than turns may have, too."""
    results = await store.remember_many(given)
    assert {result.outcome for result in results} <= {"stored"}
    changes = []
    for number, id in enumerate(IDS):
        sets = {
            record.SESSION: LABELS[number // 2 % (len(LABELS) - 1)].encode() if number % 4 else None,
            PINNED: b"0.5" if number % 6 == 2 else None,
            record.SPEAKER: LABELS[number // 5 % (len(LABELS) - 1)].encode() if number % 3 else None,
        }
        changes.append(RecordChange(id, sets={name: value for name, value in sets.items() if value is not None}))
    ids = {draft.id for draft in given}
    await engine.records(record.memory_collection(store.name)).change_many(
        [change for change in changes if change.id in ids]
    )


@dataclass
class Library:
    """A store with sixty memories of every kind."""

    store: MemoryStore
    engine: Engine
    items: list[MemoryItem]

    def those(self, condition: Condition, **scope: Any) -> list[str]:
        """The ids that the oracle accepts, oldest first."""
        found = [
            item
            for item in self.items
            if condition.holds(item)
            and ("thread_id" not in scope or item.thread_id == scope["thread_id"])
            and set(scope.get("tags", ())) <= set(item.tags)
        ]
        return [item.id for item in sorted(found, key=lambda item: (item.created_at, item.id))]

    async def complete(self) -> None:
        """Store again what an example has forgotten."""
        there = {item.id for item in await everything(self.store)}
        await remember_drafts(self.store, self.engine, [draft for draft in drafts() if draft.id not in there])
        self.items = await everything(self.store)
        assert len(self.items) == len(IDS)


async def everything(store: MemoryStore) -> list[MemoryItem]:
    return [item for item in await store.get_many(IDS) if item is not None]


@pytest.fixture
async def library(make_store: MakeStore, engine: Engine, clock: TestClock) -> Library:
    store = make_store()
    given = drafts()
    for start in range(0, len(given), 10):
        await remember_drafts(store, engine, given[start : start + 10])
        clock.advance(seconds=1)
    for k in (25, 12, 3):
        clock.advance(seconds=1)
        await store.recall_by_vector(QUERY, k=k)
    items = await everything(store)
    assert len(items) == len(IDS)
    assert {item.access_count for item in items} == {0, 1, 2, 3}
    assert len({item.created_at for item in items}) == 6
    assert len({item.session for item in items}) == len({item.speaker for item in items}) == len(LABELS)
    return Library(store, engine, items)


scopes: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {}, {"thread_id": "t"}, {"thread_id": "t,u"}, {"tags": ["ui"]}, {"thread_id": "T", "tags": ["u i"]}]
)


async def assert_found(library: Library, condition: Condition, scope: dict[str, Any], where: Where) -> None:
    expected = library.those(condition, **scope)
    store = library.store
    hits = await store.recall_by_vector(QUERY, k=2500, reinforce=False, where=where, **scope)
    assert sorted(hit.item.id for hit in hits) == sorted(expected)
    page = await store.list(MemoryListOptions(limit=1000, where=where, **scope))
    assert sorted(item.id for item in page.items) == sorted(expected)
    assert page.total == len(expected)
    assert (await store.list(MemoryListOptions(limit=0, where=where, **scope))).total == len(expected)
    assert [item.id async for item in store.iterate(where=where, page_size=7, **scope)] == expected


async def assert_both_forms(library: Library, condition: Condition, scope: dict[str, Any]) -> None:
    await assert_found(library, condition, scope, condition.object)
    if isinstance(condition, Leaf):  # that larger ones have the same meaning follows, see tests/memory/test_where.py
        await assert_found(library, condition, scope, condition.mapping)


on_any_library = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("configuration", MAIN, indirect=True)
@settings(on_any_library, max_examples=120)
@given(condition=conditions, scope=scopes)
async def test_every_condition_is_answered_exactly(
    library: Library, condition: Condition, scope: dict[str, Any]
) -> None:
    await assert_both_forms(library, condition, scope)


@pytest.mark.parametrize("configuration", [c for c in CONFIGURATIONS if c not in MAIN], indirect=True)
@settings(on_any_library, max_examples=15)
@given(condition=conditions, scope=scopes)
async def test_over_every_client_too(library: Library, condition: Condition, scope: dict[str, Any]) -> None:
    await assert_both_forms(library, condition, scope)


# Forgetting


@pytest.mark.parametrize("configuration", MAIN, indirect=True)
@settings(on_any_library, max_examples=25)
@given(condition=conditions, scope=scopes)
async def test_forgetting_removes_exactly_those(library: Library, condition: Condition, scope: dict[str, Any]) -> None:
    await library.complete()
    expected = set(library.those(condition, **scope))
    assert await library.store.forget_by_scope(where=condition.object, **scope) == len(expected)
    assert await everything(library.store) == [item for item in library.items if item.id not in expected]


async def test_forgetting_by_a_condition_over_every_client(library: Library) -> None:
    condition = ~Source.any("chat", "mail") & Importance.below(0.5) | OccurredAt.before("1970-01-01")
    expected = {
        item.id
        for item in library.items
        if (item.source not in ("chat", "mail") and item.importance < 0.5)
        or (item.occurred_at is not None and item.occurred_at < 0)
    }
    assert 10 < len(expected) < 50
    assert await library.store.forget_by_scope(where=condition) == len(expected)
    assert {item.id for item in await everything(library.store)} == set(IDS) - expected
    with pytest.raises(InvalidInputError, match="or where"):
        await library.store.forget_by_scope()


async def test_forgetting_by_a_negation_includes_memories_without_the_field(store: MemoryStore) -> None:
    """Of these a search returns nothing that the condition asks about, as of one that has expired."""
    kept = await store.remember("tagged", tags=["ui"], source="chat", subject="s")
    for where in (~Tag("ui"), Source.none("chat"), ~Subject("s"), ~Subject("s") & ~Tag("ui") & ~Source("chat")):
        gone = [await store.remember("bare"), await store.remember("bare", thread_id="t")]
        assert await store.forget_by_scope(where=where) == 2
        assert await store.get_many([kept, *gone]) == [await store.get(kept), None, None]
    assert (await store.stats()).item_count == 1


# By example


async def contents(store: MemoryStore, where: Where) -> set[str]:
    """What recall, list and iterate find, which is the same."""
    recalled = {hit.item.content for hit in await store.recall("x", k=100, reinforce=False, where=where)}
    listed = await store.list(MemoryListOptions(where=where))
    assert {item.content for item in listed.items} == recalled
    assert {item.content async for item in store.iterate(where=where)} == recalled
    assert listed.total == len(recalled)
    return recalled


async def test_conditions_in_the_words_of_the_documentation(store: MemoryStore) -> None:
    await store.remember("dark mode", tags=["ui"], source="chat", importance=0.9)
    await store.remember("summary of May", tags=["ui"], source="summary", importance=0.9)
    await store.remember("a detail", tags=["ui"], importance=0.2)
    await store.remember("the moon landing", tags=["history"], occurred_at="1969-07-20T20:17:40Z")

    assert await contents(store, Tag("ui") & ~Source("summary") & Importance.between(0.5, 1)) == {"dark mode"}
    assert await contents(store, {"tags": "ui", "not": {"source": "summary"}}) == {"dark mode", "a detail"}
    assert await contents(store, Source("chat") | OccurredAt("1969-07-20")) == {"dark mode", "the moon landing"}
    assert await contents(store, ~OccurredAt.since("1800-01-01")) == {"dark mode", "summary of May", "a detail"}
    assert await contents(store, CreatedAt.before("2025-06-15")) == set()
    assert await contents(store, CreatedAt("2025-06-15") & Tag.none("ui")) == {"the moon landing"}
    assert await contents(store, AccessCount(0) & Source.none("chat", "summary")) == {"a detail", "the moon landing"}


async def test_turns_are_told_apart_by_session_and_speaker(store: MemoryStore) -> None:
    for thread in ("t", "u"):
        for session in ("monday", "tuesday"):
            said = [{"content": f"{speaker} {session} {thread}", "speaker": speaker} for speaker in ("Ann", "Bo")]
            await store.remember_conversation(said, session=session, thread_id=thread)
    await store.remember("no turn")
    assert await contents(store, Session("monday") & Speaker("Ann")) == {"Ann monday t", "Ann monday u"}
    assert await contents(store, {"speaker": {"none": ["Ann", "bo"]}, "session": "tuesday"}) == {
        "Bo tuesday t",
        "Bo tuesday u",
    }
    assert await contents(store, ~Speaker.any("Ann", "Bo") | Session("Monday")) == {"no turn"}
    hits = await store.recall("x", thread_id="t", where=Speaker("Bo"), k=9, reinforce=False)
    assert {hit.item.content for hit in hits} == {"Bo monday t", "Bo tuesday t"}
    assert await store.forget_by_scope(thread_id="t", where=Session.none("monday")) == 2


async def test_keywords_and_conditions_must_both_hold(store: MemoryStore) -> None:
    both = await store.remember("both", thread_id="t", tags=["a", "b"], subject="s")
    await store.remember("other thread", thread_id="u", tags=["a", "b"], subject="s")
    await store.remember("other subject", thread_id="t", tags=["a", "b"], subject="S")
    await store.remember("other tag", thread_id="t", tags=["a"], subject="s")
    hits = await store.recall("x", thread_id="t", tags=["a"], subject="s", where=Tag("b"), reinforce=False)
    assert [hit.item.id for hit in hits] == [both]


async def test_a_condition_is_refused_before_the_embedder_is_paid(store: MemoryStore) -> None:
    where: Any = {"colour": "red"}
    calls = [
        store.recall("\ud800 would be refused, too", where={"tags": "a,b"}),
        store.recall_by_vector(QUERY, where=where),
        store.list(MemoryListOptions(where=where)),
        store.forget_by_scope(where=where),
        anext(store.iterate(where=where)),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            await call
    assert (await store.stats()).item_count == 0


async def test_a_condition_too_long_for_a_search_is_refused_everywhere(store: MemoryStore) -> None:
    with pytest.raises(InvalidInputError, match="search engines accept 10,240"):
        await store.list(MemoryListOptions(where=Tag.any(*(f"tag-number-{n}" for n in range(600)))))
    many = Id(*(f"id-number-{n}" for n in range(6000)))
    assert (await store.list(MemoryListOptions(where=many))).total == 0


# Recall does not come back short


async def test_a_crowd_that_a_negated_tag_excludes_does_not_shorten_the_answer(store: MemoryStore) -> None:
    """No index can say "without this tag": it returns the nearer 150, and more is asked for."""
    await store.remember_many(
        MemoryDraft(at_angle(1 - number / 10_000, str(number)), tags=["noise"], source="log") for number in range(150)
    )
    wanted = [await store.remember(at_angle(0.5 - number / 100), tags=["Noise"]) for number in range(10)]
    for where in (Tag.none("noise"), ~Source("log"), {"not": {"tags": "noise", "source": "log"}}):
        hits = await store.recall(AHEAD, k=10, where=where, reinforce=False)
        assert [hit.item.id for hit in hits] == wanted
        page = await store.list(MemoryListOptions(where=where, limit=3, offset=8))
        assert (len(page.items), page.total) == (2, 10)
    assert await store.forget_by_scope(where=~Tag("noise")) == 10
    assert (await store.stats()).item_count == 150


async def test_ids_are_found_wherever_they_are(store: MemoryStore) -> None:
    """They are read by key: no crowd of nearer memories is in the way."""
    await store.remember_many(at_angle(1 - number / 10_000, str(number)) for number in range(150))
    far = [await store.remember(at_angle(-0.5 - n / 100), tags=["t"] if n else None, id=f"far{n}") for n in range(3)]
    hits = await store.recall(AHEAD, k=5, where=Id(*far, "unknown"), reinforce=False)
    assert [hit.item.id for hit in hits] == far
    assert [hit.item.id for hit in await store.recall(AHEAD, where=Id(*far) & Tag("t"), reinforce=False)] == far[1:]
    assert (await store.stats()).recall_refills == 0


# An index that another package made


async def create_published_index(server: ValkeyServer, name: str) -> None:
    """The arguments of wire-contract A.1, which know none of our fields."""
    vector = f"vector VECTOR HNSW 6 TYPE FLOAT32 DIM {DIMENSIONS} DISTANCE_METRIC COSINE"
    scope = "threadId TAG agentId TAG namespace TAG tags TAG SEPARATOR , source TAG"
    numbers = "importance NUMERIC created_at NUMERIC SORTABLE last_accessed_at NUMERIC access_count NUMERIC"
    client = server.client()
    try:
        command = (
            f"FT.CREATE {name}:mem:idx ON HASH PREFIX 1 {name}:mem: SCHEMA {vector} {scope} {numbers} content TEXT"
        )
        await client.execute_command(*command.split())
    finally:
        await client.aclose()


@pytest.fixture
async def foreign(
    make_store: MakeStore, engine: Engine, clock: TestClock, valkey_server: ValkeyServer, store_name: str
) -> Library:
    await create_published_index(valkey_server, store_name)
    store = make_store(name=store_name)
    await remember_drafts(store, engine, drafts())
    return Library(store, engine, await everything(store))


APPENDED = [
    Subject("chat"),
    ~Subject("chat"),
    OccurredAt.until("1970-01-01"),
    ~OccurredAt.since(0),
    Kind("rule"),
    Entity("Smith, John"),
]


@pytest.mark.parametrize("configuration", [URL, POOL], indirect=True)
@settings(on_any_library, max_examples=40)
@given(condition=conditions, scope=scopes)
async def test_conditions_are_exact_on_an_index_without_our_fields(
    foreign: Library, condition: Condition, scope: dict[str, Any]
) -> None:
    await assert_found(foreign, condition, scope, condition.object)


@pytest.mark.parametrize("configuration", ON_SERVERS, indirect=True)
async def test_reindex_makes_our_fields_known_to_the_index(foreign: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody else has this store open who would have to hear of it first.
    monkeypatch.setattr(reindexing, "_HEARD_SECONDS", 0.1)
    monkeypatch.setattr(reindexing, "_HELD_SECONDS", 0.1)
    store = foreign.store
    assert (await store.stats()).unindexed_fields == ("subject", "occurred_at", "words", "kind", "entities")
    before = [await found(store, where) for where in APPENDED]
    assert [len(ids) for ids in before] == [expected_count(foreign.items, n) for n in range(len(APPENDED))]

    result = await store.reindex()

    assert (result.indexed, result.unindexed_fields, result.index_failures) == (len(IDS), (), 0)
    assert (await store.stats()).unindexed_fields == ()
    assert [await found(store, where) for where in APPENDED] == before


def expected_count(items: Sequence[MemoryItem], number: int) -> int:
    about = [item.subject == "chat" for item in items]
    happened = [item.occurred_at for item in items]
    return [
        sum(about),
        len(about) - sum(about),
        sum(ms is not None and ms < 86_400_000 for ms in happened),
        sum(ms is None or ms < 0 for ms in happened),
        sum(item.kind == "rule" for item in items),
        sum("Smith, John" in item.entities for item in items),
    ][number]


async def found(store: MemoryStore, where: Where) -> set[str]:
    hits = await store.recall_by_vector(QUERY, k=100, where=where, reinforce=False)
    return {hit.item.id for hit in hits}


@pytest.mark.parametrize("configuration", [URL], indirect=True)
async def test_a_crowd_that_only_we_can_tell_apart_does_not_shorten_the_answer(
    make_store: MakeStore, valkey_server: ValkeyServer, store_name: str
) -> None:
    await create_published_index(valkey_server, store_name)
    store = make_store(name=store_name)
    await store.remember_many(
        MemoryDraft(at_angle(1 - number / 10_000, str(number)), occurred_at=number, thread_id="t")
        for number in range(150)
    )
    wanted = [await store.remember(at_angle(0.5 - n / 100), occurred_at=-1 - n, thread_id="t") for n in range(10)]
    hits = await store.recall(AHEAD, k=10, thread_id="t", where=OccurredAt.before(0), reinforce=False)
    assert [hit.item.id for hit in hits] == wanted
    assert (await store.stats()).recall_refills > 0
    await store.reindex()
    refills = (await store.stats()).recall_refills
    hits = await store.recall(AHEAD, k=10, thread_id="t", where=OccurredAt.before(0), reinforce=False)
    assert [hit.item.id for hit in hits] == wanted
    assert (await store.stats()).recall_refills == refills


@pytest.mark.parametrize("configuration", [URL], indirect=True)
async def test_conditions_on_fields_that_the_index_lacks_are_warned_of_once(
    foreign: Library, caplog: pytest.LogCaptureFixture
) -> None:
    store = foreign.store

    def warnings() -> list[str]:
        return [record.message for record in caplog.records if "index of store" in record.message]

    with caplog.at_level(logging.WARNING):
        await store.list(MemoryListOptions(where=Tag("ui") & CreatedAt.since(0)))
        await store.list(MemoryListOptions(where=Id("m01") & Subject("chat")))
        assert warnings() == []
        async for _ in store.iterate(where=Tag("ui") | OccurredAt.since(0)):
            pass
        [warning] = warnings()
        assert "occurred_at" in warning
        assert "subject" not in warning
        assert "reindex()" in warning
        await store.list(MemoryListOptions(subject="chat"))
        await store.recall_by_vector(QUERY, where=~Subject("chat"))
        await store.forget_by_scope(where=OccurredAt.since(0))
        assert len(warnings()) == 1


@pytest.mark.parametrize("configuration", MAIN, indirect=True)
async def test_no_warning_where_the_index_has_all_fields(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await library.store.recall_by_vector(QUERY, where=Subject("chat") & OccurredAt.since(0))
    assert caplog.records == []
