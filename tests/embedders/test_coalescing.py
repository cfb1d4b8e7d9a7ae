"""Concurrent calls go out in batches: what that saves, what it bounds, and whom a failure reaches."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import AgentMemory
from betterdb_agent_memory.embedders import (
    CallLimits,
    CoalescingEmbedder,
    Embedder,
    FunctionEmbedder,
    QueryBatchEmbedder,
    WordLlamaEmbedder,
    as_embedder,
    coalesced,
)
from betterdb_agent_memory.errors import (
    ConfigurationError,
    EmbedderOverloadedError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
)

REPOSITORY = Path(__file__).parents[2]
AT_ONCE = CallLimits(longest_pause_seconds=0)

Vectors = list[list[float]]


def vector(text: str) -> list[float]:
    return [float(len(text)), 1.0]


class RemoteModel:
    """An embedder as a user writes one for a service: a call takes as long as `answer` takes."""

    name = "remote"
    dimensions = 2
    default_threshold = 0.3

    def __init__(self, answer: Callable[[Sequence[str]], Awaitable[Vectors]] | None = None) -> None:
        self.batches: list[list[str]] = []
        self.in_flight = self.most_in_flight = self.cancelled = 0
        self.gate = asyncio.Event()
        self._answer = answer or self._after_the_gate

    async def _after_the_gate(self, texts: Sequence[str]) -> Vectors:
        await self.gate.wait()
        return [vector(text) for text in texts]

    async def embed_query(self, text: str) -> list[float]:
        return (await self.embed_documents([f"query: {text}"]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(texts)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_it_is_an_embedder_that_states_what_its_inner_one_states():
    embedder = CoalescingEmbedder(WordLlamaEmbedder(128))
    assert isinstance(embedder, Embedder)
    assert isinstance(embedder, QueryBatchEmbedder)
    assert as_embedder(embedder) is embedder
    assert (embedder.name, embedder.dimensions, embedder.default_threshold) == ("wordllama-l2_supercat-128", 128, 0.70)


async def test_what_is_asked_in_one_turn_of_the_loop_is_one_call():
    model = RemoteModel()
    model.gate.set()
    embedder = CoalescingEmbedder(model)
    texts = [f"note {n}" for n in range(100)]
    found = await asyncio.gather(*(embedder.embed_documents([text]) for text in texts))
    assert [one for [one] in found] == [vector(text) for text in texts]
    assert model.batches == [texts]


async def test_a_lone_call_does_not_wait_for_company():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model)
    call = asyncio.create_task(embedder.embed_documents(["a"]))
    await turns()
    assert model.batches == [["a"]]
    model.gate.set()
    assert await call == [vector("a")]


async def test_while_the_calls_are_taken_texts_wait_and_go_out_together():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=2, max_batch=50))
    calls = []
    for n in range(100):
        calls.append(asyncio.create_task(embedder.embed_documents([str(n)])))
        await turns(3)
    assert [len(batch) for batch in model.batches] == [1, 1]
    now = embedder.statistics()
    assert (now.waiting, now.in_flight, now.calls) == (98, 2, 2)
    model.gate.set()
    assert await asyncio.gather(*calls) == [[vector(str(n))] for n in range(100)]
    assert [len(batch) for batch in model.batches] == [1, 1, 50, 48]
    assert model.most_in_flight == 2
    assert embedder.statistics().waiting == embedder.statistics().in_flight == 0


async def test_the_same_text_waiting_twice_is_embedded_once():
    model = RemoteModel()
    model.gate.set()
    embedder = CoalescingEmbedder(model)
    found = await asyncio.gather(*(embedder.embed_documents(["same", "own", "same"][: n % 3 + 1]) for n in range(30)))
    assert found == [[vector("same"), vector("own"), vector("same")][: n % 3 + 1] for n in range(30)]
    assert model.batches == [["same", "own"]]
    assert embedder.statistics().spared == 58


async def test_a_question_and_a_document_of_the_same_text_are_apart():
    model = RemoteModel()
    model.gate.set()
    embedder = CoalescingEmbedder(model)
    asked, stored = await asyncio.gather(embedder.embed_query("a"), embedder.embed_documents(["a"]))
    assert (asked, stored) == (vector("query: a"), [vector("a")])
    assert sorted(model.batches) == [["a"], ["query: a"]]


async def test_questions_go_out_together_where_the_embedder_takes_several():
    class TakesQueries(RemoteModel):
        async def embed_queries(self, texts: Sequence[str]) -> Vectors:
            return await self.embed_documents([f"query: {text}" for text in texts])

    for model, batches in ((TakesQueries(), 1), (RemoteModel(), 20)):
        model.gate.set()
        embedder = CoalescingEmbedder(model)
        found = await asyncio.gather(*(embedder.embed_query(str(n)) for n in range(20)))
        assert found == [vector(f"query: {n}") for n in range(20)]
        assert await embedder.embed_queries([]) == []
        assert len(model.batches) == batches


async def test_a_long_list_goes_out_in_batches_within_their_bounds():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=3, max_batch=10, max_batch_bytes=100))
    texts = [f"{n} {'é' * (n % 40 if n >= 40 else 0)}" for n in range(200)]
    bulk = asyncio.create_task(embedder.embed_documents(texts))
    await turns(10)
    model.gate.set()
    assert await bulk == [vector(text) for text in texts]
    assert max(map(len, model.batches)) == 10
    assert max(sum(len(text.encode()) for text in batch) for batch in model.batches) <= 100
    assert model.most_in_flight == 3
    assert await embedder.embed_documents(["x" * 500, "y"]) == [vector("x" * 500), vector("y")]
    assert ["x" * 500] in model.batches[-2:]


async def test_a_long_list_does_not_fill_the_queue_nor_keep_others_waiting():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=2, max_batch=10, max_waiting=40))
    bulk = asyncio.create_task(embedder.embed_documents([str(n) for n in range(1_000)]))
    await turns()
    question = asyncio.create_task(embedder.embed_query("urgent"))
    await turns()
    model.gate.set()
    await question
    assert len(model.batches) < 8
    assert len(await bulk) == 1_000


async def test_long_lists_wait_for_room_where_one_call_would_be_refused():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=1, max_batch=10, max_waiting=15))
    lists = [asyncio.create_task(embedder.embed_documents([f"{n} {m}" for m in range(100)])) for n in range(5)]
    await turns(20)
    assert embedder.statistics().waiting <= 15
    stopped = lists.pop()
    stopped.cancel()
    model.gate.set()
    assert [len(found) for found in await asyncio.gather(*lists)] == [100] * 4
    assert embedder.statistics().refused == 0


async def test_closing_wakes_a_list_that_waits_for_room():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=1, max_batch=10, max_waiting=15))
    lists = [asyncio.create_task(embedder.embed_documents([f"{n} {m}" for m in range(100)])) for n in range(5)]
    await turns(20)
    await embedder.aclose()
    for outcome in await asyncio.wait_for(asyncio.gather(*lists, return_exceptions=True), 5):
        assert isinstance(outcome, EmbeddingError)


async def test_a_full_queue_refuses_with_a_named_error_and_keeps_what_it_took():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=1, max_waiting=5))
    calls = [asyncio.create_task(embedder.embed_documents(["in flight"]))]
    await turns()
    calls += [asyncio.create_task(embedder.embed_documents([f"waits {n}"])) for n in range(5)]
    await turns()
    with pytest.raises(EmbedderOverloadedError, match=r"5 texts wait .* the bound is 5"):
        await embedder.embed_documents(["one more"])
    with pytest.raises(EmbedderOverloadedError):
        await embedder.embed_query("or a question")
    again = asyncio.create_task(embedder.embed_documents(["waits 3"]))  # costs no place
    await turns()
    assert embedder.statistics().refused == 2
    assert embedder.statistics().waiting == 5
    model.gate.set()
    assert await asyncio.gather(*calls, again)
    assert await embedder.embed_documents(["one more"]) == [vector("one more")]


async def test_a_call_without_an_answer_is_given_up_and_made_again():
    async def hangs_once(texts: Sequence[str]) -> Vectors:
        if len(model.batches) == 1:
            await asyncio.sleep(60)
        return [vector(text) for text in texts]

    model = RemoteModel(hangs_once)
    embedder = CoalescingEmbedder(model, CallLimits(timeout_seconds=0.05, longest_pause_seconds=0))
    assert await embedder.embed_documents(["a"]) == [vector("a")]
    assert model.cancelled == 1
    seen = embedder.statistics()
    assert (seen.calls, seen.retries, seen.timeouts) == (2, 1, 1)


async def test_a_model_that_never_answers_is_an_error_after_the_stated_attempts():
    model = RemoteModel()
    limits = CallLimits(timeout_seconds=0.02, attempts=2, longest_pause_seconds=0)
    with pytest.raises(EmbedderUnavailableError, match=r"embedder remote gave no answer within 0\.02 s"):
        await CoalescingEmbedder(model, limits).embed_query("a")
    assert len(model.batches) == 2
    assert model.in_flight == 0


class AnsweredError(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ConnectionResetError("reset by peer"), 3),
        (AnsweredError(429), 3),
        (AnsweredError(503), 3),
        (EmbedderUnavailableError("busy", retry_after_seconds=0), 3),
        (EmbedderUnavailableError("busy", retry_after_seconds=3600), 1),
        (AnsweredError(400), 1),
        (AnsweredError(401), 1),
        (EmbeddingError("quota used up", status_code=429), 1),
        (ValueError("too long"), 1),
        (InvalidInputError("not for this model"), 1),
    ],
)
async def test_only_what_may_pass_is_tried_again(error, calls):
    async def fails(texts: Sequence[str]) -> Vectors:
        raise error

    model = RemoteModel(fails)
    with pytest.raises((EmbeddingError, InvalidInputError)) as failure:
        await CoalescingEmbedder(model, AT_ONCE).embed_documents(["a"])
    assert failure.value is error or failure.value.__cause__ is error
    assert str(error) in str(failure.value)
    assert len(model.batches) == calls


async def test_the_pause_the_provider_asks_for_is_kept():
    async def is_busy_once(texts: Sequence[str]) -> Vectors:
        if len(model.batches) == 1:
            raise EmbedderUnavailableError("busy", retry_after_seconds=0.2)
        return [vector(text) for text in texts]

    model = RemoteModel(is_busy_once)
    embedder = CoalescingEmbedder(model, CallLimits(longest_pause_seconds=0.3))
    before = asyncio.get_running_loop().time()
    await embedder.embed_query("a")
    assert 0.19 < asyncio.get_running_loop().time() - before < 5


async def test_nobody_fails_for_a_strangers_text():
    async def refuses_bad(texts: Sequence[str]) -> Vectors:
        if "bad" in texts:
            raise ValueError("input too long")
        return [vector(text) for text in texts]

    model = RemoteModel(refuses_bad)
    embedder = CoalescingEmbedder(model, AT_ONCE)
    asked = [["a", "aa"], ["bad"], ["aaa"], ["fine", "bad"], ["aaaa"]]
    found = await asyncio.gather(*(embedder.embed_documents(texts) for texts in asked), return_exceptions=True)
    assert [found[n] for n in (0, 2, 4)] == [[vector(text) for text in asked[n]] for n in (0, 2, 4)]
    for failed in (found[1], found[3]):
        assert isinstance(failed, EmbeddingError)
        assert "ValueError: input too long" in str(failed)
    assert len(model.batches) == 6  # together once, then each by itself


async def test_nobody_fails_for_sharing_a_text_with_someone_who_does():
    async def refuses_bad(texts: Sequence[str]) -> Vectors:
        if "bad" in texts:
            raise ValueError("input too long")
        return [vector(text) for text in texts]

    embedder = CoalescingEmbedder(RemoteModel(refuses_bad), AT_ONCE)
    asked = [["shared", "bad"], ["shared"], ["own", "shared"]]
    failed, *found = await asyncio.gather(*(embedder.embed_documents(texts) for texts in asked), return_exceptions=True)
    assert isinstance(failed, EmbeddingError)
    assert found == [[vector(text) for text in texts] for texts in asked[1:]]


@pytest.mark.parametrize("answer", [[], [[1.0, 1.0]] * 3, None])
async def test_a_miscounted_answer_reaches_nobody_as_anothers_vector(answer):
    async def miscounts_batches(texts: Sequence[str]) -> Vectors:
        return answer if len(texts) > 1 else [vector(texts[0])]

    embedder = CoalescingEmbedder(RemoteModel(miscounts_batches))
    found = await asyncio.gather(*(embedder.embed_documents([text]) for text in ("a", "bb")))
    assert found == [[vector("a")], [vector("bb")]]
    with pytest.raises(EmbeddingError, match="returned"):
        await embedder.embed_documents(["a", "bb"])


async def test_a_failure_that_passes_for_nobody_is_not_repeated_for_each_caller():
    async def is_down(texts: Sequence[str]) -> Vectors:
        raise ConnectionRefusedError("refused")

    model = RemoteModel(is_down)
    embedder = CoalescingEmbedder(model, AT_ONCE)
    found = await asyncio.gather(*(embedder.embed_documents([str(n)]) for n in range(50)), return_exceptions=True)
    assert all(isinstance(failed, EmbedderUnavailableError) for failed in found)
    assert len(model.batches) == 3


async def test_a_cancelled_caller_harms_no_other():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=1))
    first = asyncio.create_task(embedder.embed_documents(["in flight"]))
    with_first = asyncio.create_task(embedder.embed_documents(["in flight", "with it"]))
    await turns()
    waiting = [asyncio.create_task(embedder.embed_documents([text])) for text in ("a", "shared", "shared", "b")]
    await turns()
    for task in (first, waiting[0], waiting[1]):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    model.gate.set()
    assert await with_first == [vector("in flight"), vector("with it")]
    assert await waiting[2] == [vector("shared")]
    assert await waiting[3] == [vector("b")]
    assert model.batches == [["in flight", "with it"], ["shared", "b"]], "what nobody wants any more is not embedded"
    assert not model.cancelled


async def test_a_call_that_nobody_waits_for_is_cancelled_and_its_place_is_free():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=1))
    forsaken = [asyncio.create_task(embedder.embed_documents([str(n)])) for n in range(3)]
    await turns()
    waits = asyncio.create_task(embedder.embed_query("next"))
    await turns()
    for task in forsaken:
        task.cancel()
    await turns()
    assert model.cancelled == 1
    model.gate.set()
    assert await waits == vector("query: next")


async def test_cancelling_a_long_list_stops_all_of_it():
    model = RemoteModel()
    embedder = CoalescingEmbedder(model, CallLimits(max_concurrency=2, max_batch=10))
    bulk = asyncio.create_task(embedder.embed_documents([str(n) for n in range(1_000)]))
    await turns()
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk
    await turns()
    assert model.cancelled == 2
    assert (embedder.statistics().waiting, embedder.statistics().in_flight) == (0, 0)


async def test_closing_fails_who_waits_and_refuses_who_comes():
    model = RemoteModel()
    async with CoalescingEmbedder(model, CallLimits(max_concurrency=1)) as embedder:
        calls = [asyncio.create_task(embedder.embed_documents([str(n)])) for n in range(3)]
        await turns()
        waits = asyncio.create_task(embedder.embed_query("waits"))
        await turns()
    assert model.cancelled == 1
    for failed in await asyncio.gather(*calls, waits, return_exceptions=True):
        assert isinstance(failed, EmbeddingError)
        assert "closed" in str(failed)
    with pytest.raises(EmbeddingError, match="embedder remote is closed"):
        await embedder.embed_query("late")
    await embedder.aclose()


def test_it_serves_one_event_loop_after_another_even_if_the_first_stopped_midway():
    program = """
        import asyncio, sys
        from betterdb_agent_memory.embedders import CallLimits, CoalescingEmbedder

        class Model:
            name, dimensions, default_threshold = "m", 1, 0.3
            hangs = True
            async def embed_query(self, text): return [1.0]
            async def embed_documents(self, texts):
                if self.hangs: await asyncio.sleep(60)
                return [[1.0] for _ in texts]

        embedder = CoalescingEmbedder(Model(), CallLimits(max_concurrency=2))

        async def stopped_midway():
            tasks = []
            for n in range(6):
                tasks.append(asyncio.create_task(embedder.embed_documents([str(n)])))
                await asyncio.sleep(0.001)
            assert embedder.statistics().in_flight == 2 and embedder.statistics().waiting == 4

        asyncio.run(stopped_midway())
        assert embedder.statistics().in_flight == embedder.statistics().waiting == 0, embedder.statistics()
        Model.hangs = False
        print(len(asyncio.run(embedder.embed_documents(["a", "b"]))))
    """
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
    )
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "2", "")


@pytest.mark.parametrize("texts", ["abc", ["fine", None], [b"bytes"], ["\ud800"]])
async def test_what_is_not_a_list_of_texts_is_refused_before_it_is_queued(texts):
    model = RemoteModel()
    with pytest.raises(InvalidInputError):
        await CoalescingEmbedder(model).embed_documents(texts)
    assert not model.batches


async def test_no_texts_are_no_call():
    model = RemoteModel()
    assert await CoalescingEmbedder(model).embed_documents([]) == []
    assert not model.batches


async def test_a_store_remembers_and_recalls_in_few_calls_of_its_model():
    model = RemoteModel()
    model.gate.set()
    async with AgentMemory.open(":memory:", embedder=CoalescingEmbedder(model)) as agent:
        await agent.memory.ensure_index()
        await asyncio.gather(*(agent.memory.remember(f"note {n}") for n in range(50)))
        assert sum(map(len, model.batches)) == 50
        assert len(model.batches) <= 10
        found = await asyncio.gather(*(agent.memory.recall(f"note {n}", k=1) for n in range(5)))
    assert all(found)


async def test_a_store_wraps_what_gains_by_it_and_nothing_twice():
    async def embed(text: str) -> list[float]:
        return vector(text)

    wrapped = coalesced(RemoteModel())
    assert isinstance(wrapped, CoalescingEmbedder)
    for embedder in (wrapped, WordLlamaEmbedder(), FunctionEmbedder(embed)):
        assert coalesced(embedder) is embedder


async def test_an_embedder_states_its_own_limits():
    class Careful(RemoteModel):
        call_limits = CallLimits(max_batch=7)

    assert CoalescingEmbedder(Careful()).limits.max_batch == 7
    assert CoalescingEmbedder(Careful(), CallLimits(max_batch=3)).limits.max_batch == 3
    assert CoalescingEmbedder(RemoteModel()).limits == CallLimits()


@pytest.mark.parametrize(
    "limit",
    [
        {"max_batch": 0},
        {"max_batch": True},
        {"max_concurrency": 1.5},
        {"max_waiting": -1},
        {"attempts": 0},
        {"max_batch_bytes": "1"},
        {"timeout_seconds": 0},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": float("inf")},
        {"longest_pause_seconds": -1},
    ],
)
def test_limits_that_let_nothing_through_are_refused(limit):
    with pytest.raises(ConfigurationError, match=next(iter(limit))):
        CallLimits(**limit)


requests = st.tuples(
    st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "é" * 9, "bad"]), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 12),
    st.one_of(st.none(), st.integers(0, 12)),
)
small_limits = st.builds(
    CallLimits,
    max_concurrency=st.integers(1, 3),
    max_batch=st.integers(1, 4),
    max_batch_bytes=st.integers(1, 20),
    max_waiting=st.integers(1, 8),
    attempts=st.just(1),
)


@given(st.lists(requests, min_size=1, max_size=12), small_limits, st.booleans())
async def test_whatever_is_asked_and_cancelled_everyone_gets_their_own_or_an_error(asked, limits, batches_queries):
    async def answers_after_some_turns(texts: Sequence[str]) -> Vectors:
        await turns(3)
        if any("bad" in text for text in texts):
            raise ValueError("refused")
        return [vector(text) for text in texts]

    class TakesQueries(RemoteModel):
        async def embed_queries(self, texts: Sequence[str]) -> Vectors:
            return await self.embed_documents([f"query: {text}" for text in texts])

    model = (TakesQueries if batches_queries else RemoteModel)(answers_after_some_turns)
    embedder = CoalescingEmbedder(model, limits)

    async def ask(texts: list[str], is_query: bool, after: int) -> object:
        await turns(after)
        found = await (embedder.embed_queries(texts) if is_query else embedder.embed_documents(texts))
        assert found == [vector(f"query: {text}" if is_query else text) for text in texts]
        return None

    async def cancel(task: asyncio.Task[object], after: int) -> None:
        await turns(after)
        task.cancel()

    tasks = [asyncio.create_task(ask(texts, is_query, after)) for texts, is_query, after, _ in asked]
    cancelling = [
        asyncio.create_task(cancel(task, after))
        for task, (*_, after) in zip(tasks, asked, strict=True)
        if after is not None
    ]
    found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    await asyncio.gather(*cancelling)
    for outcome, (texts, _, _, cancelled_after) in zip(found, asked, strict=True):
        if isinstance(outcome, asyncio.CancelledError):
            assert cancelled_after is not None
        elif isinstance(outcome, EmbedderOverloadedError):
            assert len(asked) > 1
        elif outcome is not None:
            assert isinstance(outcome, EmbeddingError), repr(outcome)
            assert "bad" in texts
    await turns()
    left = embedder.statistics()
    assert (left.waiting, left.in_flight) == (0, 0)
    assert model.most_in_flight <= limits.max_concurrency
    assert all(len(batch) <= limits.max_batch for batch in model.batches)
    assert not embedder._starting
    assert not embedder._calls
