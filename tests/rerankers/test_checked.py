"""What becomes of a reranker's answer, of its failures, and of what is no reranker."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError, RerankingError
from betterdb_agent_memory.rerankers import CheckedReranker, FunctionReranker, Reranker, as_reranker

TEXTS = ["light mode", "dark mode", "salmon"]


def answering(answer, **options) -> CheckedReranker:
    async def rerank(query, texts):
        return answer

    return CheckedReranker(FunctionReranker(rerank, **options))


class Lengths:
    """A reranker of somebody's own, which states no limit."""

    name = "lengths"

    async def rerank(self, query, texts):
        return [len(text) - len(query) for text in texts]


async def test_the_function_sees_question_and_texts_and_its_scores_come_in_order():
    seen = []

    async def rerank(query, texts):
        seen.append((query, list(texts)))
        return [0.5, 2, -1]

    scores = await CheckedReranker(FunctionReranker(rerank)).scores("dark", TEXTS)
    assert seen == [("dark", TEXTS)]
    assert scores.tolist() == [0.5, 2.0, -1.0]


@pytest.mark.parametrize("answer", [(1, 2, 3), np.array([1, 2, 3], np.float32), np.arange(1, 4)], ids=str)
async def test_any_row_of_numbers_is_an_answer(answer):
    scores = await answering(answer).scores("q", TEXTS)
    assert scores.dtype == np.float64
    assert scores.tolist() == [1.0, 2.0, 3.0]


async def test_nothing_is_asked_about_no_texts():
    assert (await answering("never looked at").scores("q", [])).tolist() == []


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([1, 2], r"scores of the shape \(2,\) for 3 texts"),
        ([[1], [2], [3]], r"scores of the shape \(3, 1\) for 3 texts"),
        (1.0, r"scores of the shape \(\) for 3 texts"),
        ([1, float("nan"), 3], "scored text 1 with nan, which is no finite number"),
        ([1, 2, float("-inf")], "scored text 2 with -inf"),
        (["1", "2", "3"], r"returned list \['1', '2', '3'\], expected a list of numbers"),
        ([True, False, True], "expected a list of numbers"),
        ([1, [2], 3], "expected a list of numbers"),
        (None, "returned NoneType None, expected a list of numbers"),
        ({"scores": [1, 2, 3]}, "returned dict .* expected a list of numbers"),
    ],
    ids=str,
)
async def test_an_answer_that_is_not_one_finite_score_a_text_is_refused(answer, complaint):
    with pytest.raises(RerankingError, match=f"^reranker mine .*{complaint}.*; rerank=False recalls without it$"):
        await answering(answer, name="mine").scores("q", TEXTS)


async def test_what_it_raises_is_the_cause_of_an_error_that_names_it():
    async def rerank(query, texts):
        raise OSError("no weights")

    with pytest.raises(RerankingError, match="reranker mine failed: OSError: no weights") as raised:
        await CheckedReranker(FunctionReranker(rerank, name="mine")).scores("q", TEXTS)
    assert isinstance(raised.value.__cause__, OSError)


async def test_an_error_of_ours_stays_itself():
    async def rerank(query, texts):
        raise InvalidInputError("too long for me")

    with pytest.raises(InvalidInputError, match="^too long for me$"):
        await CheckedReranker(FunctionReranker(rerank)).scores("q", TEXTS)


async def test_a_call_is_given_up_in_time_and_cancelled():
    cancelled = asyncio.Event()

    async def rerank(query, texts):
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with pytest.raises(RerankingError, match=r"gave no answer within 0\.02 s"):
        await CheckedReranker(FunctionReranker(rerank, timeout_seconds=0.02)).scores("q", TEXTS)
    assert cancelled.is_set()


async def test_a_timeout_of_its_own_is_a_failure_and_not_ours():
    async def rerank(query, texts):
        raise TimeoutError("the provider's")

    with pytest.raises(RerankingError, match="failed: TimeoutError: the provider's"):
        await CheckedReranker(FunctionReranker(rerank)).scores("q", TEXTS)


async def test_cancelling_the_caller_cancels_the_call():
    async def rerank(query, texts):
        await asyncio.sleep(60)

    call = asyncio.create_task(CheckedReranker(FunctionReranker(rerank)).scores("q", TEXTS))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_call_that_cancels_itself_is_a_failure():
    async def rerank(query, texts):
        raise asyncio.CancelledError

    with pytest.raises(RerankingError, match="cancelled its own call"):
        await CheckedReranker(FunctionReranker(rerank)).scores("q", TEXTS)


async def test_a_reranker_of_ones_own_needs_a_name_and_a_method():
    reranker = as_reranker(Lengths())
    assert isinstance(reranker, Reranker)
    checked = CheckedReranker(reranker)
    assert checked.name == "lengths"
    assert (await checked.scores("q", TEXTS)).tolist() == [9.0, 8.0, 5.0]


async def test_a_reranker_without_a_limit_of_its_own_has_one():
    class Stuck(Lengths):
        async def rerank(self, query, texts):
            await asyncio.sleep(60)

    with pytest.raises(RerankingError, match="gave no answer within"):
        await CheckedReranker(Stuck(), default_timeout_seconds=0.02).scores("q", TEXTS)


async def test_a_function_that_is_not_async_is_found_out_with_what_to_do():
    def score(query, texts):
        return [0.0] * len(texts)

    with pytest.raises(ConfigurationError, match=r"score is not async.*asyncio\.to_thread"):
        await CheckedReranker(as_reranker(score)).scores("q", TEXTS)


class Nameless(Lengths):
    name = ""


@pytest.mark.parametrize(
    "value", [None, "fastembed", 3, Lengths, Nameless(), object()], ids=lambda one: type(one).__name__
)
def test_what_is_no_reranker_is_refused(value):
    with pytest.raises(ConfigurationError, match="reranker"):
        as_reranker(value)


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"name": 3}, {"timeout_seconds": 0}, {"timeout_seconds": "1"}], ids=str
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigurationError):
        FunctionReranker(Lengths().rerank, **options)


@pytest.mark.parametrize("function", [None, "f", Lengths], ids=str)
def test_what_is_no_function_is_refused(function):
    with pytest.raises(ConfigurationError, match="expected an async function"):
        FunctionReranker(function)
