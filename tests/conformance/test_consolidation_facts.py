"""Facts are kept up to date beside memories, on every engine; corrected defects by their number."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from betterdb_agent_memory import (
    ConfigurationError,
    ConsolidateFactsResult,
    ConsolidationConfig,
    Fact,
    InvalidInputError,
    MemoryItem,
    MemoryListOptions,
    MemoryStore,
)
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.errors import ConsolidationError
from betterdb_agent_memory.memory.progress import Progress
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection
from tests.conformance.callbacks import Digest, Extract, retraction
from tests.conformance.conftest import CLUSTER, FILE, MEMORY, POOLED, URL, MakeStore, TestClock


@pytest.fixture(params=[FILE, MEMORY, URL, POOLED, "valkey-resp2-bytes", "redis-resp3-decoded", CLUSTER])
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def facts(store: MemoryStore, **options: Any) -> dict[str, MemoryItem]:
    """The stored facts, by content."""
    listed = await store.list(MemoryListOptions(limit=1000, **options))
    return {item.content: item for item in listed.items if item.source == "fact"}


async def put(engine: Engine, store: MemoryStore, id: str, content: str, created_at_ms: int = 1, **fields: Any) -> None:
    """A fact as the other packages write it: without our marks."""
    await store.ensure_index()
    memory = NewMemory(id, content, 0.7, created_at_ms, source=fields.pop("source", "fact"), **fields)
    vector = b"\0\0\x80\x3f" * 8
    await engine.records(memory_collection(store.name)).write_many([RecordWrite(id, encode_memory(memory, vector))])


async def curated(store: MemoryStore, *given: Fact, **options: Any) -> ConsolidateFactsResult:
    result = await store.consolidate(extract_facts=Extract(*given), **{"thread_id": "t", **options})
    assert isinstance(result, ConsolidateFactsResult)
    return result


async def test_facts_are_written_beside_the_memories(store: MemoryStore, clock: TestClock) -> None:
    await store.remember("note 0", thread_id="t", tags=["n"])
    clock.advance(seconds=1)
    await store.remember("note 1", thread_id="t", tags=["n"])
    extract = Extract(Fact("Home City", "lives in Sofia", "2024-01-01"), Fact("pet", "has a cat"), retraction("ghost"))
    result = await store.consolidate_facts(extract_facts=extract, thread_id="t", tags=["n"])
    assert extract.contents == ["note 0", "note 1"]
    assert (result.candidates, result.facts, result.deleted, result.calls) == (2, 2, 0, 1)
    assert result.unmatched_tombstones == ["ghost"]
    assert [operation.type for operation in result.operations] == ["add", "add", "unmatched-tombstone"]
    found = await facts(store)
    assert set(found) == {"[2024-01-01] lives in Sofia", "has a cat"}
    city = found["[2024-01-01] lives in Sofia"]
    assert (city.subject, city.date, city.importance, city.tags) == ("Home City", "2024-01-01", 0.7, ["n"])
    assert (city.thread_id, city.created_at) == ("t", clock.now_ms)
    assert len((await store.list()).items) == 4, "the memories stay"


async def test_a_second_run_with_the_same_facts_changes_nothing(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    given = (Fact("city", "lives in Sofia", "2024-01-01"), Fact("pet", "has a cat"))
    await curated(store, *given)
    before = await facts(store)
    result = await curated(store, *given)
    assert (result.created, result.deleted, result.facts) == ([], 0, 2)
    assert await facts(store) == before


async def test_a_date_that_only_the_text_had_is_stored(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "[2024] lives in Bonn"))
    result = await curated(store, Fact("city", "lives in Bonn", date="2024"))
    assert ([operation.type for operation in result.operations], result.deleted) == (["update"], 1)
    [fact] = (await facts(store)).values()
    assert (fact.content, fact.date, [fact.id]) == ("[2024] lives in Bonn", "2024", result.created)
    again = await curated(store, Fact("city", "lives in Bonn", date="2024"))
    assert ([operation.type for operation in again.operations], again.created, again.deleted) == (["noop"], [], 0)


async def test_a_newer_statement_replaces_an_older_one_and_a_retraction_ends_it(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Sofia", "2024-01-01"), Fact("pet", "has a cat"))
    result = await curated(store, Fact(" CITY ", "lives in Berlin", "2024-06-01"), retraction("Pet"))
    assert (len(result.created), result.deleted, result.facts) == (1, 2, 1)
    assert set(await facts(store)) == {"[2024-06-01] lives in Berlin"}


async def test_label_and_importance_are_those_of_the_store_or_of_the_call(make_store: MakeStore) -> None:
    store = make_store(consolidation=ConsolidationConfig(fact_source="my-facts", fact_importance=0.9))
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Sofia"))
    await curated(store, Fact("pet", "has a cat"), fact_importance=0.1, ttl=100)
    found = {item.subject: item for item in (await store.list()).items if item.source == "my-facts"}
    assert {subject: item.importance for subject, item in found.items()} == {"city": 0.9, "pet": 0.1}
    with pytest.raises(ConfigurationError, match="fact_source"):
        make_store(consolidation=ConsolidationConfig(fact_source=""))
    with pytest.raises(ConfigurationError, match="importance"):
        make_store(consolidation=ConsolidationConfig(fact_importance=7))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"undated": "always"}, "undated"),
        ({"day_first": 1}, "day_first"),
        ({"fact_importance": 2}, "importance"),
        ({"thread_id": None}, "at least one"),
        ({"extract_facts": "", "mode": "summary"}, "needs summarize="),
        ({"delete_sources": "no"}, "mode='facts' does not take delete_sources="),
        ({"delete_sources": True, "summary_importance": 99}, "delete_sources=, summary_importance="),
        ({"mode": "facts", "summarize": 7}, "summarize must be an async function or a model, got 7"),
        ({"extract_without_candidates": 1}, "extract_without_candidates"),
        ({"on_progress": "loud"}, "on_progress"),
    ],
    ids=str,
)
async def test_a_bad_request_is_refused_before_anything(store: MemoryStore, options: dict[str, Any], says: str) -> None:
    extract = Extract()
    with pytest.raises(InvalidInputError, match=says):
        await store.consolidate(**{"extract_facts": extract, "thread_id": "t", **options})
    assert extract.seen == []


class Returns:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def __call__(self, _: list[MemoryItem]) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("a text", "str instead of a list"),
        (None, "NoneType instead of a list"),
        ([{"subject": "city"}], "Fact objects, got dict"),
        ([Fact("city", None)], "statement of a fact must be text"),  # type: ignore[arg-type]
        ([Fact(7, "x")], "subject of a fact must be text"),  # type: ignore[arg-type]
        ([Fact("city", "x", 2024)], "date of a fact must be text"),  # type: ignore[arg-type]
        ([Fact("c" * 4097, "x")], "4,097"),
        ([Fact("city", "x" * 262_145)], "262,145 bytes"),
        ([Fact("good", "fact"), Fact("city", "\ud800")], "surrogate"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_an_unusable_answer_is_a_clear_error_and_writes_nothing(
    store: MemoryStore, answer: Any, says: str
) -> None:
    await store.remember("note", thread_id="t")
    with pytest.raises(ConsolidationError, match=says):
        await store.consolidate(extract_facts=Returns(answer), thread_id="t")
    assert await facts(store) == {}


async def test_f05_facts_of_other_scopes_inside_a_wider_request_are_not_touched(store: MemoryStore) -> None:
    for thread, employer in (("t1", "Acme"), ("t2", "Globex")):
        await store.remember("source", thread_id=thread, namespace="app")
        await curated(store, Fact("employer", f"works at {employer}"), thread_id=thread, namespace="app")
    result = await curated(store, thread_id=None, namespace="app")
    assert (result.candidates, result.facts, result.created, result.deleted) == (2, 0, [], 0)
    await curated(store, Fact("employer", "works at Initech"), retraction("pet"), thread_id=None, namespace="app")
    assert {(fact.content, fact.thread_id) for fact in (await facts(store)).values()} == {
        ("works at Acme", "t1"),
        ("works at Globex", "t2"),
        ("works at Initech", None),
    }
    assert (await curated(store, retraction("employer"), thread_id=None, namespace="app")).deleted == 1
    assert set(await facts(store)) == {"works at Acme", "works at Globex"}


async def test_f06_the_newest_of_several_facts_about_one_subject_survives(engine: Engine, store: MemoryStore) -> None:
    await store.remember("source", thread_id="t")
    await put(engine, store, "old", "[2024-01-01] lives in Sofia", 1, thread_id="t", subject="city", date="2024-01-01")
    await put(engine, store, "new", "[2025-01-01] lives in Bonn", 2, thread_id="t", subject="City", date="2025-01-01")
    # Written earlier, but about a later time.
    await put(engine, store, "a", "[March 2025] at Acme", 1, thread_id="t", subject="job", date="March 2025")
    await put(engine, store, "b", "[2024-12-31] at Globex", 2, thread_id="t", subject="job", date="2024-12-31")
    await put(engine, store, "c", "has a cat", 1, thread_id="t", subject="pet")
    await put(engine, store, "d", "has a dog", 2, thread_id="t", subject="pet")
    result = await curated(store)
    assert (result.created, result.deleted, result.facts) == ([], 3, 3)
    assert set(await facts(store)) == {"[2025-01-01] lives in Bonn", "[March 2025] at Acme", "has a dog"}


async def test_f06_duplicates_of_narrower_scopes_heal_within_each(engine: Engine, store: MemoryStore) -> None:
    await store.remember("source", namespace="app")
    for thread in ("t1", "t2"):
        await put(engine, store, f"{thread}-1", f"{thread} old", 1, thread_id=thread, namespace="app", subject="x")
        await put(engine, store, f"{thread}-2", f"{thread} new", 2, thread_id=thread, namespace="app", subject="X ")
    assert (await curated(store, thread_id=None, namespace="app")).deleted == 2
    assert set(await facts(store)) == {"t1 new", "t2 new"}


async def test_a_fact_stays_in_the_tag_buckets_of_those_it_replaces(engine: Engine, store: MemoryStore) -> None:
    await store.remember("source", thread_id="t", tags=["n"])
    await put(engine, store, "1", "lives in Sofia", 1, thread_id="t", subject="city", tags=("home",))
    await put(engine, store, "2", "lives in Bonn", 2, thread_id="t", subject="City", tags=("work",))
    await put(engine, store, "3", "has a cat", 1, thread_id="t", subject="pet", tags=("home",))
    await put(engine, store, "4", "has a dog", 2, thread_id="t", subject="pet", tags=("work",))
    await curated(store, Fact("city", "lives in Rome"), tags=["n"])
    found = {content: set(item.tags) for content, item in (await facts(store)).items()}
    assert found == {"lives in Rome": {"n", "home", "work"}, "has a dog": {"home", "work"}}
    # What is stated again in another bucket is found there from now on.
    await curated(store, Fact("pet", "has a dog"), tags=["n"])
    assert set(await facts(store, tags=["n"])) == {"lives in Rome", "has a dog"}


async def test_f18_facts_are_not_drawn_from_summaries_or_facts(store: MemoryStore) -> None:
    await store.remember("early note", thread_id="t")
    await store.consolidate(summarize=Digest(), thread_id="t")
    await store.remember("late note", thread_id="t")
    await curated(store, Fact("pet", "has a cat"))
    extract = Extract()
    await store.consolidate(extract_facts=extract, thread_id="t")
    assert extract.contents == ["late note"]


async def test_f20_two_runs_at_once_make_one_fact(make_store: MakeStore) -> None:
    stores = [make_store(), make_store()]
    await stores[0].remember("note", thread_id="t")
    given = Extract(Fact("city", "lives in Sofia"), seconds=0.2)
    results = await asyncio.gather(*[store.consolidate(extract_facts=given, thread_id="t") for store in stores])
    assert sorted(len(result.created) for result in results) == [0, 1]
    assert set(await facts(stores[0])) == {"lives in Sofia"}


async def test_f21_stored_facts_heal_without_new_memories(engine: Engine, store: MemoryStore) -> None:
    await put(engine, store, "1", "lives in Sofia", 1, thread_id="t", subject="city")
    await put(engine, store, "2", "lives in Bonn", 2, thread_id="t", subject="city")
    # Its text is not what its date and statement make.
    await put(engine, store, "3", "has a cat", 1, thread_id="t", subject="pet", date="2024")
    result = await curated(store)
    assert (result.candidates, result.facts, result.deleted) == (0, 2, 2)
    assert set(await facts(store)) == {"lives in Bonn", "[2024] has a cat"}


async def test_f21_a_retraction_counts_without_new_memories_and_nothing_else_does(store: MemoryStore) -> None:
    id = await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Sofia"), Fact("pet", "has a cat"))
    await store.forget(id)
    # Who reads nothing can take back, but not state: a model makes things up when it is given no text.
    given = (retraction("pet"), Fact("name", "is called John"))
    result = await curated(store, *given, extract_without_candidates=True)
    assert (result.candidates, result.facts, result.deleted) == (0, 1, 1)
    assert set(await facts(store)) == {"lives in Sofia"}


async def first_line(memories: list[MemoryItem]) -> list[Fact]:
    """An extractor as they were written for the published package, which never passed an empty list."""
    return [Fact("first line", memories[0].content)]


async def test_f21_without_memories_nobody_is_asked_who_did_not_ask_for_it(engine: Engine, store: MemoryStore) -> None:
    await put(engine, store, "1", "lives in Sofia", 1, thread_id="t", subject="city")
    await put(engine, store, "2", "lives in Bonn", 2, thread_id="t", subject="city")
    for _ in range(2):
        result = await store.consolidate(extract_facts=first_line, thread_id="t")
    assert result == ConsolidateFactsResult(0, 1, [], 0)
    assert set(await facts(store)) == {"lives in Bonn"}, "and yet the duplicate is healed"
    with pytest.raises(ConsolidationError, match="IndexError"):
        await store.consolidate_facts(extract_facts=first_line, thread_id="t", extract_without_candidates=True)


async def test_f21_stored_facts_heal_even_if_the_extractor_fails(engine: Engine, store: MemoryStore) -> None:
    async def fail(_: list[MemoryItem]) -> list[Fact]:
        raise RuntimeError("the model is down")

    await store.remember("note", thread_id="t")
    await put(engine, store, "1", "lives in Sofia", 1, thread_id="t", subject="city")
    await put(engine, store, "2", "lives in Bonn", 2, thread_id="t", subject="city")
    # Its text is not what its date and statement make.
    await put(engine, store, "3", "has a cat", 1, thread_id="t", subject="pet", date="2024")
    with pytest.raises(ConsolidationError, match="the model is down"):
        await store.consolidate(extract_facts=fail, thread_id="t")
    assert set(await facts(store)) == {"lives in Bonn", "[2024] has a cat"}


async def test_what_is_healed_and_replaced_in_one_run_is_counted_once(engine: Engine, store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    await put(engine, store, "1", "has a cat", 1, thread_id="t", subject="pet", date="2024")
    planned = await curated(store, Fact("pet", "has a dog", "2025"), dry_run=True)
    result = await curated(store, Fact("pet", "has a dog", "2025"))
    assert (len(result.created), result.deleted) == (1, planned.deleted) == (1, 1)
    [fact] = (await facts(store)).values()
    assert (fact.content, [fact.id]) == ("[2025] has a dog", result.created)


async def test_facts_are_drawn_from_what_was_there_when_the_run_began(store: MemoryStore, clock: TestClock) -> None:
    await store.remember_many([f"note {number}" for number in range(1_200)], thread_id="t")

    async def extract(_: list[MemoryItem]) -> list[Fact]:
        clock.advance(seconds=1)
        await store.remember_many([f"later {clock.now_ms} {number}" for number in range(20)], thread_id="t")
        return []

    # Memories are read by the thousand: what is written meanwhile comes into the second page, or would.
    result = await store.consolidate(extract_facts=extract, thread_id="t", batch_size=500)
    assert isinstance(result, ConsolidateFactsResult)
    assert (result.candidates, result.calls) == (1_200, 3)


async def test_a_store_without_an_embedder_is_refused_before_anybody_is_asked(
    store: MemoryStore, make_store: MakeStore
) -> None:
    await store.remember("note", thread_id="t")
    extract, told = Extract(Fact("city", "lives in Bonn")), list[Progress]()
    with pytest.raises(ConfigurationError, match="consolidate needs an embedder"):
        await make_store(embed_fn=None).consolidate(extract_facts=extract, thread_id="t", on_progress=told.append)
    assert (extract.seen, told) == ([], [])


async def test_f21_with_nothing_at_all_nobody_is_asked(store: MemoryStore) -> None:
    extract = Extract(Fact("x", "y"))
    assert await store.consolidate(extract_facts=extract, thread_id="t") == ConsolidateFactsResult(0, 0, [], 0)
    assert extract.seen == []


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2024-9-1", "2024-10-01"),
        ("12/31/2024", "01/02/2025"),
        ("May 8, 2023", "2023-05-09"),
        ("8 May 2023", "May 2024"),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T09:00:00Z"),
        ("31.12.2023", "1.2.2024"),
    ],
)
async def test_f40_dates_are_compared_as_dates(store: MemoryStore, earlier: str, later: str) -> None:
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Bonn", later))
    await curated(store, Fact("city", "lives in Sofia", earlier))
    assert set(await facts(store)) == {f"[{later}] lives in Bonn"}
    await curated(store, Fact("other", "x", earlier))
    await curated(store, Fact("other", "y", later))
    assert f"[{later}] y" in await facts(store)


async def test_f40_a_date_with_slashes_can_be_read_with_the_day_first(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Bonn", "2025-01-15"))
    await curated(store, Fact("city", "lives in Rome", "01/02/2025"))
    assert set(await facts(store)) == {"[2025-01-15] lives in Bonn"}
    await curated(store, Fact("city", "lives in Rome", "01/02/2025"), day_first=True)
    assert set(await facts(store)) == {"[01/02/2025] lives in Rome"}


@pytest.mark.parametrize("date", [None, "", "some time ago", "may", "12:30"])
async def test_f41_an_undated_statement_replaces_a_dated_one_only_if_told(store: MemoryStore, date: str | None) -> None:
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Bonn", "2025-01-01"))
    assert (await curated(store, Fact("city", "lives in Sofia", date))).operations[0].type == "noop"
    assert set(await facts(store)) == {"[2025-01-01] lives in Bonn"}
    assert (await curated(store, Fact("city", "lives in Sofia", date), undated="replace")).deleted == 1
    [fact] = (await facts(store)).values()
    assert fact.content.endswith("lives in Sofia")


@pytest.mark.parametrize("label", ["Summary", "summary", "fact", "FACT", "Fact", "fact ", "facts"])
async def test_f42_what_a_user_labels_is_a_memory_like_any_other(store: MemoryStore, label: str) -> None:
    await store.remember("lives in Bonn", thread_id="t", source=label, subject="city")
    extract = Extract(retraction("city"))
    result = await store.consolidate(extract_facts=extract, thread_id="t")
    assert extract.contents == ["lives in Bonn"]
    assert (result.deleted, len((await store.list()).items)) == (0, 1)


@pytest.mark.parametrize("label", ["summary", "Summary", "FACT", "a,b", " x "])
async def test_f42_whatever_facts_are_labelled_they_are_not_summarized(make_store: MakeStore, label: str) -> None:
    store = make_store(consolidation=ConsolidationConfig(fact_source=label))
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Bonn"))
    assert (await curated(store, Fact("city", "lives in Bonn"))).created == [], "it is found again"
    digest = Digest()
    await store.consolidate(summarize=digest, thread_id="t", delete_sources=False)
    assert digest.contents == ["note"]
    extract = Extract()
    await store.consolidate(extract_facts=extract, thread_id="t")
    assert extract.contents == ["note"]
    # Nor by a store that labels its facts otherwise.
    digest = Digest(lambda _: "another")
    await make_store().consolidate(summarize=digest, thread_id="t", delete_sources=False)
    assert digest.contents == ["note"]


async def test_f43_facts_count_for_the_capacity_of_their_scope(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=3)
    for number in range(3):
        await store.remember(f"note {number}", thread_id="t", importance=number / 10)
        clock.advance(seconds=1)
    await curated(store, Fact("city", "lives in Bonn"))
    assert {item.content for item in (await store.list()).items} == {"note 1", "note 2", "lives in Bonn"}
    assert (await store.stats()).evictions == 1


async def test_f44_memories_are_read_in_batches_and_none_is_left_out(store: MemoryStore, clock: TestClock) -> None:
    for number in range(25):
        await store.remember(f"note {number:02}", thread_id="t")
        clock.advance(seconds=1)
    told: list[Progress] = []
    extract = Extract(Fact("city", "lives in Bonn"))
    result = await store.consolidate(
        extract_facts=extract, thread_id="t", batch_size=10, on_progress=told.append, max_input_chars=10_000
    )
    assert isinstance(result, ConsolidateFactsResult)
    assert [len(memories) for memories in extract.seen] == [10, 10, 5]
    assert extract.contents == [f"note {number:02}" for number in range(25)]
    assert (result.candidates, result.calls, result.facts, len(result.created)) == (25, 3, 1, 1)
    assert [progress.done for progress in told if progress.stage == "extracting"] == [10, 20, 25]
    assert told[-1].stage == "deleting"


async def test_a_dry_run_asks_the_extractor_and_writes_nothing(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Sofia", "2024"), Fact("pet", "has a cat"))
    before = await store.list()
    result = await curated(store, Fact("city", "lives in Bonn", "2025"), retraction("pet"), dry_run=True)
    assert result.dry_run
    assert [operation.type for operation in result.operations] == ["update", "delete"]
    assert (result.facts, result.created, result.deleted) == (1, [], 2)
    assert await store.list() == before


async def test_an_interrupted_replacement_is_finished_by_the_next_run(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    await curated(store, Fact("city", "lives in Sofia", "2024"))

    def stop(progress: Progress) -> None:
        if progress.stage == "deleting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await curated(store, Fact("city", "lives in Bonn", "2024"), on_progress=stop)
    assert len(await facts(store)) == 2
    # Both have one date and one time of creation; the journal knows which replaced which.
    await store.consolidate(summarize=Digest(), thread_id="other")
    assert set(await facts(store)) == {"[2024] lives in Bonn"}
