"""A summary takes the place of memories, on every engine; corrected defects by their number."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from betterdb_agent_memory import (
    AgentMemoryError,
    ConfigurationError,
    ConsolidateResult,
    EmbeddingError,
    Fact,
    InvalidInputError,
    MemoryItem,
    MemoryListOptions,
    MemoryStore,
)
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.errors import ConsolidationError, LeaseHeldError, LeaseLostError
from betterdb_agent_memory.memory.progress import Progress
from tests.conformance.callbacks import Digest, Extract
from tests.conformance.conftest import CLUSTER, FILE, MEMORY, POOLED, URL, MakeStore, TestClock, expiry_of
from tests.embedding import embed


@pytest.fixture(params=[FILE, MEMORY, URL, POOLED, "valkey-resp2-bytes", "redis-resp3-decoded", CLUSTER])
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def items(store: MemoryStore, **options: Any) -> dict[str, MemoryItem]:
    """What is stored, by content."""
    return {item.content: item for item in (await store.list(MemoryListOptions(limit=1000, **options))).items}


async def test_a_summary_takes_the_place_of_its_sources(store: MemoryStore, clock: TestClock) -> None:
    for number in range(3):
        await store.remember(f"note {number}", thread_id="t", tags=["n"])
        clock.advance(seconds=1)
    await store.remember("another thread", thread_id="u")
    digest = Digest()
    result = await store.consolidate(mode="summary", summarize=digest, thread_id="t", tags=["n"])
    assert isinstance(result, ConsolidateResult)
    assert digest.contents == ["note 0", "note 1", "note 2"], "oldest first"
    assert (result.consolidated, result.deleted, result.calls, result.expires_at) == (3, 3, 1, None)
    found = await items(store)
    assert set(found) == {"digest", "another thread"}
    summary = found["digest"]
    assert [summary.id] == result.created
    assert (summary.source, summary.importance, summary.tags) == ("summary", 0.7, ["n"])
    assert (summary.thread_id, summary.created_at) == ("t", clock.now_ms)
    assert (await store.stats()).item_count == 2


async def test_only_what_the_criteria_say_goes_in(store: MemoryStore, clock: TestClock) -> None:
    for number, importance in enumerate((0.2, 0.9, 0.4, 0.6)):
        await store.remember(f"note {number}", thread_id="t", importance=importance)
        clock.advance(seconds=100)
    digest = Digest()
    # The third note is exactly 200 s old, which counts.
    await store.consolidate(summarize=digest, older_than_seconds=200, max_importance=0.4, delete_sources=False)
    assert digest.contents == ["note 0", "note 2"]
    assert len(await items(store)) == 5, "the sources stay when asked to"
    digest = Digest()
    await store.consolidate(summarize=digest, where={"importance": {"gte": 0.5}}, summary_importance=0.1)
    assert digest.contents == ["note 1", "note 3"]


async def test_scopes_that_differ_in_case_only_are_not_summarized_together(store: MemoryStore) -> None:
    for thread in ("abc", "ABC", "abc,d", " abc"):
        await store.remember(f"of {thread!r}", thread_id=thread)
    digest = Digest()
    await store.consolidate(summarize=digest, thread_id="abc")
    assert digest.contents == ["of 'abc'"]
    assert len(await items(store)) == 4


async def test_without_candidates_nothing_is_called_or_written(store: MemoryStore) -> None:
    digest = Digest()
    assert await store.consolidate(summarize=digest, thread_id="t") == ConsolidateResult(0, [], 0)
    assert digest.seen == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "at least one of thread_id"),
        ({"summarize": None, "thread_id": "t"}, "mode='summary' or mode='facts'"),
        ({"extract_facts": Digest(), "thread_id": "t"}, "exactly one"),
        ({"mode": "summaries", "thread_id": "t"}, "'summaries'"),
        ({"mode": "facts", "thread_id": "t"}, "needs extract_facts="),
        ({"mode": "summary", "summarize": 7, "thread_id": "t"}, "async function"),
        ({"older_than_seconds": -1}, "older_than_seconds"),
        ({"older_than_seconds": "1"}, "older_than_seconds"),
        ({"max_importance": 2}, "max_importance"),
        ({"thread_id": "t", "summary_importance": True}, "importance"),
        ({"thread_id": "t", "delete_sources": "yes"}, "delete_sources"),
        ({"thread_id": "t", "ttl": 1.5}, "ttl"),
        ({"thread_id": "t", "batch_size": 1}, "batch_size"),
        ({"thread_id": "t", "max_input_chars": 5}, "max_input_chars"),
        ({"thread_id": "t", "wait_seconds": -1}, "wait_seconds"),
        ({"thread_id": "t", "lease_seconds": 0}, "lease_seconds"),
        ({"thread_id": "t", "on_progress": 1}, "on_progress"),
        ({"tags": ["a,b"]}, "comma"),
        ({"thread_id": "t", "fact_importance": 77}, "mode='summary' does not take fact_importance="),
        ({"thread_id": "t", "undated": "keep", "day_first": False}, "does not take undated=, day_first="),
        ({"thread_id": "t", "extract_without_candidates": True}, "does not take extract_without_candidates="),
        ({"thread_id": "t", "mode": "summary", "extract_facts": 7}, "extract_facts must be an async function"),
    ],
)
async def test_a_bad_request_is_refused_before_anything(store: MemoryStore, options: dict[str, Any], says: str) -> None:
    await store.remember("note", thread_id="t")
    with pytest.raises(InvalidInputError, match=says):
        await store.consolidate(**{"summarize": Digest(), **options})
    assert set(await items(store)) == {"note"}


async def test_both_callbacks_may_be_given_when_the_mode_is_said(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    digest, extract = Digest(), Extract(Fact("city", "lives in Bonn"))
    both: dict[str, Any] = {"summarize": digest, "extract_facts": extract, "thread_id": "t"}
    await store.consolidate(mode="facts", **both)
    assert (len(digest.seen), len(extract.seen)) == (0, 1)
    await store.consolidate(mode="summary", **both)
    assert (len(digest.seen), len(extract.seen)) == (1, 1)


async def test_a_run_ends_while_others_go_on_writing(store: MemoryStore, clock: TestClock) -> None:
    await store.remember_many([f"note {number}" for number in range(1_200)], thread_id="t")

    async def summarize(memories: list[MemoryItem]) -> str:
        clock.advance(seconds=1)
        if memories[0].source != "summary":
            await store.remember_many([f"later {clock.now_ms} {number}" for number in range(20)], thread_id="t")
        return "digest"

    # Memories are read by the thousand: what is written meanwhile comes into the second page, or would.
    result = await store.consolidate(summarize=summarize, thread_id="t", batch_size=500)
    assert isinstance(result, ConsolidateResult)
    assert (result.consolidated, result.deleted, result.calls) == (1_200, 1_200, 4)
    left = await items(store)
    assert len(left) == 61, "the summary, and what came later"
    assert "digest" in left


async def test_a_store_without_an_embedder_is_refused_before_anybody_is_asked(
    store: MemoryStore, make_store: MakeStore
) -> None:
    await store.remember("note", thread_id="t")
    digest = Digest()
    reader = make_store(embed_fn=None)
    holder = asyncio.create_task(store.consolidate(summarize=Digest(seconds=0.5), thread_id="t", delete_sources=False))
    await asyncio.sleep(0.2)
    with pytest.raises(ConfigurationError, match="consolidate needs an embedder"):
        # Nor does it wait for the lease of another run.
        await reader.consolidate(summarize=digest, thread_id="t", wait_seconds=0)
    await holder
    assert digest.seen == []
    counted = await reader.consolidate(mode="summary", thread_id="t", dry_run=True)
    assert counted.deleted == 1, "to count takes no embedder"


async def refuses(_: list[MemoryItem]) -> str:
    raise RuntimeError("the model is down")


async def says_nothing(_: list[MemoryItem]) -> str:
    return "  \n"


async def returns_a_number(_: list[MemoryItem]) -> Any:
    return 7


def is_blocking(_: list[MemoryItem]) -> Any:
    return "at once"


async def has_a_surrogate(_: list[MemoryItem]) -> str:
    return "half of \ud83d"


async def is_endless(_: list[MemoryItem]) -> str:
    return "x" * 262_145


@pytest.mark.parametrize(
    ("summarize", "says"),
    [
        (refuses, "RuntimeError: the model is down"),
        (says_nothing, "empty text"),
        (returns_a_number, "int instead of text"),
        (is_blocking, "must be an async function"),
        (has_a_surrogate, "surrogate"),
        (is_endless, "262,145 bytes"),
    ],
)
async def test_a_summarizer_that_fails_costs_nobody_a_memory(store: MemoryStore, summarize: Any, says: str) -> None:
    await store.remember("note", thread_id="t")
    with pytest.raises(ConsolidationError, match=says):
        await store.consolidate(summarize=summarize, thread_id="t")
    assert set(await items(store)) == {"note"}
    assert (await store.consolidate(summarize=Digest(), thread_id="t")).deleted == 1, "the lease is free again"


async def test_an_embedder_that_fails_costs_nobody_a_memory(make_store: MakeStore) -> None:
    async def embed_notes(text: str) -> list[float]:
        if text == "digest":
            raise RuntimeError("no embedding")
        return await embed(text)

    store = make_store(embed_fn=embed_notes)
    await store.remember("note", thread_id="t")
    with pytest.raises(EmbeddingError):
        await store.consolidate(summarize=Digest(), thread_id="t")
    assert set(await items(store)) == {"note"}
    # Repairing what that run left behind deletes nothing: its summary never came to be.
    assert (await store.consolidate(summarize=Digest(lambda _: "shorter"), thread_id="t")).deleted == 1
    assert set(await items(store)) == {"shorter"}


async def test_a_memory_that_is_changed_meanwhile_survives(store: MemoryStore) -> None:
    ids = [await store.remember(f"note {number}", thread_id="t") for number in range(3)]

    async def summarize_slowly(_: list[MemoryItem]) -> str:
        await store.update(ids[1], content="note 1, corrected")
        await store.recall("note 2", thread_id="t")
        return "digest"

    result = await store.consolidate(summarize=summarize_slowly, thread_id="t")
    assert (result.consolidated, result.deleted) == (3, 2)  # type: ignore[union-attr]
    assert set(await items(store)) == {"digest", "note 1, corrected"}


@pytest.mark.parametrize("how", ["update", "merge"])
async def test_a_memory_that_lives_longer_meanwhile_survives(store: MemoryStore, how: str) -> None:
    id = await store.remember("the deal is off", thread_id="t", ttl=1000, on_duplicate="merge")
    await store.remember("another", thread_id="t", ttl=1000)

    async def summarize_slowly(_: list[MemoryItem]) -> str:
        if how == "update":
            await store.update(id, ttl=None)
        else:
            await store.remember("the deal is off", thread_id="t", on_duplicate="merge")
        return "digest"

    result = await store.consolidate(summarize=summarize_slowly, thread_id="t")
    assert (result.consolidated, result.deleted) == (2, 1)  # type: ignore[union-attr]
    assert set(await items(store)) == {"digest", "the deal is off"}


@pytest.mark.parametrize("namespace", ["here", "there"])
async def test_a_memory_that_is_forgotten_and_written_anew_meanwhile_survives(
    store: MemoryStore, clock: TestClock, namespace: str
) -> None:
    await store.remember("the code is 4711", id="door", namespace="here")

    async def summarize_slowly(_: list[MemoryItem]) -> str:
        await store.forget("door")
        if namespace == "here":
            clock.advance(seconds=1)
        await store.remember("the code is 4711", id="door", namespace=namespace)
        return "digest"

    result = await store.consolidate(summarize=summarize_slowly, namespace="here")
    assert (result.consolidated, result.deleted) == (1, 0)  # type: ignore[union-attr]
    found = (await items(store))["the code is 4711"]
    assert (found.id, found.namespace) == ("door", namespace)


async def test_f18_a_summary_leaves_facts_and_summaries_alone(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    await store.consolidate(extract_facts=Extract(Fact("employer", "works at Acme")), thread_id="t")
    digest = Digest()
    result = await store.consolidate(summarize=digest, thread_id="t")
    assert digest.contents == ["note"]
    assert result.deleted == 1
    assert (await store.consolidate(summarize=Digest(lambda _: "again"), thread_id="t")).created == []
    assert set(await items(store)) == {"digest", "works at Acme"}


async def test_f19_a_summary_expires_with_its_longest_lived_source(engine: Engine, store: MemoryStore) -> None:
    for seconds in (100, 300, 200):
        await store.remember(f"for {seconds} s", thread_id="t", ttl=seconds)
    [longest] = [await expiry_of(engine, store, i.id) for i in (await items(store)).values() if "300" in i.content]
    result = await store.consolidate(summarize=Digest(), thread_id="t")
    assert longest is not None
    assert await expiry_of(engine, store, result.created[0]) == pytest.approx(longest, abs=1)
    assert result.expires_at == longest  # type: ignore[union-attr]


async def test_f19_one_source_for_ever_makes_a_summary_for_ever_unless_told(engine: Engine, store: MemoryStore) -> None:
    await store.remember("for a minute", thread_id="t", ttl=60)
    await store.remember("for ever", thread_id="t")
    kept = await store.consolidate(summarize=Digest(), thread_id="t", delete_sources=False)
    assert await expiry_of(engine, store, kept.created[0]) is None
    told = await store.consolidate(summarize=Digest(), thread_id="t", ttl=5000, delete_sources=False)
    assert await expiry_of(engine, store, told.created[0]) is not None


async def test_f19_a_summary_of_expiring_memories_lives_on_if_told_so(engine: Engine, store: MemoryStore) -> None:
    await store.remember("for a minute", thread_id="t", ttl=60)
    result = await store.consolidate(summarize=Digest(), thread_id="t", ttl=0)
    assert await expiry_of(engine, store, result.created[0]) is None


async def test_f19_when_all_sources_expire_while_the_model_thinks_nothing_is_written(
    engine: Engine, store: MemoryStore, clock: TestClock, caplog: pytest.LogCaptureFixture
) -> None:
    # Once with a clock that agrees with the server's, so that nothing is even embedded, and once with one that
    # is behind: then the server says so.
    for now_ms in (time.time_ns() // 1_000_000, clock.now_ms):
        clock.now_ms = now_ms
        await store.remember("short-lived", thread_id="t", ttl=3)
        await store.remember("shorter-lived", thread_id="t", ttl=3)
        before = len(await items(store))
        clock.advance(seconds=3.3)
        result = await store.consolidate(summarize=Digest(seconds=3.3), thread_id="t")
        assert before == 2
        assert result == ConsolidateResult(2, [], 0, calls=1)
        assert await items(store) == {}
    assert await engine.values.read_map(f"{store.name}:__mem_consolidation") == {}


async def test_f19_the_expiry_that_is_told_is_that_of_the_summary(engine: Engine, store: MemoryStore) -> None:
    for seconds in (0.3, 0):
        await store.remember("note", thread_id="t", ttl=600)
        result = await store.consolidate(summarize=Digest(seconds=seconds), thread_id="t", ttl=5000)
        assert isinstance(result, ConsolidateResult)
        # The lifetime begins when the summary is written, whatever the clock of this machine says.
        assert result.expires_at == pytest.approx(await expiry_of(engine, store, result.created[0]), abs=1)


async def test_f20_two_runs_at_once_make_one_summary(make_store: MakeStore) -> None:
    stores = [make_store(), make_store()]
    for number in range(5):
        await stores[0].remember(f"note {number}", thread_id="t", namespace="n")
    # Overlapping scopes that are not the same: a thread, and the namespace it lies in.
    results = await asyncio.gather(
        stores[0].consolidate(summarize=Digest(seconds=0.3), thread_id="t"),
        stores[1].consolidate(summarize=Digest(seconds=0.3), namespace="n"),
    )
    assert sorted(result.deleted for result in results) == [0, 5]
    assert len(await items(stores[0])) == 1


async def test_f20_a_run_does_not_wait_for_ever_for_another(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    first = asyncio.create_task(store.consolidate(summarize=Digest(seconds=0.6), thread_id="t"))
    await asyncio.sleep(0.2)
    with pytest.raises(LeaseHeldError, match="another worker"):
        await store.consolidate(summarize=Digest(), thread_id="t", wait_seconds=0)
    assert (await first).deleted == 1


async def test_a_lease_is_renewed_while_the_model_thinks(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")
    first = asyncio.create_task(store.consolidate(summarize=Digest(seconds=2), thread_id="t", lease_seconds=1))
    await asyncio.sleep(1.5)
    with pytest.raises(LeaseHeldError):
        await store.consolidate(summarize=Digest(), thread_id="t", wait_seconds=0)
    assert (await first).deleted == 1


async def test_a_run_that_stood_still_for_too_long_writes_nothing(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")

    async def block_the_loop(_: list[MemoryItem]) -> str:
        time.sleep(1.3)  # noqa: ASYNC251 - what a user does who forgets to await
        return "digest"

    with pytest.raises(LeaseLostError, match="could not be renewed"):
        await store.consolidate(summarize=block_the_loop, thread_id="t", lease_seconds=1)
    assert set(await items(store)) == {"note"}


@pytest.mark.parametrize("label", ["Summary", "SUMMARY", "summary ", " summary", "summary,x", "fact", "FACT", "Fact"])
async def test_f42_a_label_that_a_user_chose_does_not_keep_a_memory_out(store: MemoryStore, label: str) -> None:
    await store.remember("minutes", thread_id="t", source=label)
    digest = Digest()
    await store.consolidate(summarize=digest, thread_id="t")
    assert digest.contents == ["minutes"]


async def test_f42_the_label_summary_itself_does_not_either(store: MemoryStore) -> None:
    await store.remember("a paper's summary", thread_id="t", source="summary")
    digest = Digest()
    await store.consolidate(summarize=digest, thread_id="t")
    assert digest.contents == ["a paper's summary"]
    assert (await store.consolidate(summarize=Digest(), thread_id="t")).created == [], "ours is still known"


async def test_f43_a_summary_counts_for_the_capacity_of_its_scope(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=3)
    for number in range(3):
        await store.remember(f"note {number}", thread_id="t", importance=number / 10)
        clock.advance(seconds=1)
    await store.consolidate(summarize=Digest(), thread_id="t", delete_sources=False)
    assert set(await items(store)) == {"note 1", "note 2", "digest"}
    assert (await store.stats()).evictions == 1


async def test_f43_sources_leave_before_anybody_is_evicted(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=3)
    await store.remember("kept", thread_id="t", importance=0)
    await store.remember("note 1", thread_id="t", importance=0.5, tags=["n"])
    await store.remember("note 2", thread_id="t", importance=0.5, tags=["n"])
    await store.consolidate(summarize=Digest(), thread_id="t", tags=["n"])
    assert set(await items(store)) == {"kept", "digest"}
    assert (await store.stats()).evictions == 0


async def test_f44_more_memories_than_fit_into_one_call_are_all_taken_in_order(
    store: MemoryStore, clock: TestClock
) -> None:
    for number in range(25):
        await store.remember(f"{number:02}", thread_id="t")
        clock.advance(seconds=1)
    told: list[Progress] = []
    digest = Digest(lambda memories: "+".join(memory.content for memory in memories))
    result = await store.consolidate(summarize=digest, thread_id="t", batch_size=10, on_progress=told.append)
    assert [len(memories) for memories in digest.seen] == [10, 10, 5, 3]
    assert isinstance(result, ConsolidateResult)
    assert (result.consolidated, result.deleted, result.calls) == (25, 25, 4)
    assert set(await items(store)) == {"+".join(f"{number:02}" for number in range(25))}
    assert [progress.done for progress in told if progress.stage == "summarizing"] == [10, 20, 25]
    assert {progress.stage for progress in told} == {"summarizing", "condensing", "writing", "deleting"}


async def test_f44_a_memory_longer_than_a_call_takes_is_split(store: MemoryStore) -> None:
    text = " ".join(f"Sentence number {number}." for number in range(60))
    await store.remember(text, thread_id="t")
    digest = Digest(lambda memories: f"{len(memories)} parts")
    result = await store.consolidate(summarize=digest, thread_id="t", max_input_chars=200)
    parts = [memory.content for memory in digest.seen[0]]
    first_pass = [m.content for memories in digest.seen for m in memories if m.source != "summary"]
    assert "".join(first_pass) == text
    assert all(len(part) <= 200 for part in first_pass)
    assert parts[0].endswith(". ")
    assert (result.consolidated, result.deleted) == (1, 1)  # type: ignore[union-attr]


async def test_f44_a_summarizer_that_never_shortens_ends_in_an_error(store: MemoryStore) -> None:
    for number in range(6):
        await store.remember(f"{number}" * 80, thread_id="t")
    parrot = Digest(lambda memories: "".join(memory.content for memory in memories))
    with pytest.raises(ConsolidationError, match="does not shorten"):
        await store.consolidate(summarize=parrot, thread_id="t", max_input_chars=100)
    assert len(await items(store)) == 6


async def test_a_dry_run_counts_and_asks_nobody(engine: Engine, store: MemoryStore, clock: TestClock) -> None:
    for number in range(25):
        await store.remember(f"note {number}", thread_id="t", ttl=100)
    digest = Digest()
    result = await store.consolidate(summarize=digest, thread_id="t", batch_size=10, dry_run=True)
    assert isinstance(result, ConsolidateResult)
    assert (result.consolidated, result.created, result.deleted, result.calls) == (25, [], 25, 3)
    assert result.dry_run
    assert result.expires_at is not None
    assert digest.seen == []
    assert len(await items(store)) == 25
    # Nobody has to be named who would write the summary.
    assert (await store.consolidate(mode="summary", thread_id="t", dry_run=True)).deleted == 25
    assert (await store.consolidate(mode="summary", thread_id="t", dry_run=True, delete_sources=False)).deleted == 0


async def test_what_progress_raises_ends_the_work_and_the_next_run_finishes_it(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        await store.remember(f"note {number}", thread_id="t")

    def stop(progress: Progress) -> None:
        if progress.stage == "deleting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await store.consolidate(summarize=Digest(), thread_id="t", on_progress=stop)
    assert set(await items(store)) == {"note 0", "note 1", "note 2", "digest"}
    # Any run of the store repairs, whatever its scope.
    with caplog.at_level(logging.WARNING):
        await store.consolidate(summarize=Digest(), thread_id="somebody else's")
    assert set(await items(store)) == {"digest"}
    assert "3 memories deleted" in caplog.text
    caplog.clear()
    await store.consolidate(summarize=Digest(), thread_id="somebody else's")
    assert "interrupted" not in caplog.text, "the journal is empty again"


async def test_a_repair_spares_what_was_changed_or_whose_summary_was_forgotten(store: MemoryStore) -> None:
    ids = [await store.remember(f"note {number}", thread_id="t") for number in range(2)]

    def stop(progress: Progress) -> None:
        if progress.stage == "deleting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await store.consolidate(summarize=Digest(), thread_id="t", on_progress=stop)
    await store.update(ids[0], importance=0.9)
    await store.consolidate(summarize=Digest(), thread_id="other")
    assert set(await items(store)) == {"note 0", "digest"}

    with pytest.raises(KeyboardInterrupt):
        await store.consolidate(summarize=Digest(lambda _: "second"), thread_id="t", on_progress=stop)
    await store.forget((await items(store))["second"].id)
    await store.consolidate(summarize=Digest(), thread_id="other")
    assert set(await items(store)) == {"note 0", "digest"}


async def test_errors_of_this_library_pass_through_a_callback(store: MemoryStore) -> None:
    await store.remember("note", thread_id="t")

    async def recall_nothing(_: list[MemoryItem]) -> str:
        await store.recall("x", k=0)
        return "digest"

    with pytest.raises(InvalidInputError, match="k must be"):
        await store.consolidate(summarize=recall_nothing, thread_id="t")
    assert issubclass(ConsolidationError, AgentMemoryError)
