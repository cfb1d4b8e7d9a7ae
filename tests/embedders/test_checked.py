"""The store's side of an embedder: batches, and what becomes of the neighbours of a bad text."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.embedders import CallLimits, CoalescingEmbedder, FunctionEmbedder, WordLlamaEmbedder
from betterdb_agent_memory.embedders.vectors import checked_vector, encode_float32, encode_rows
from betterdb_agent_memory.errors import (
    ConfigurationError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
)
from betterdb_agent_memory.memory.embedding import CheckedEmbedder


class LengthEmbedder:
    """An embedder as a user writes one: fails a batch that holds a text starting with `bad`."""

    name = "lengths"
    dimensions = 2
    default_threshold = 0.3

    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[int] = []
        self.error = error if error is not None else ValueError("input too long")

    async def embed_query(self, text: str) -> list[float]:
        return (await self.embed_documents([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.batches.append(len(texts))
        if any(text.startswith("bad") for text in texts):
            raise self.error
        return [[float(len(text)), 1.0] for text in texts]


def stored(text: str) -> bytes:
    return encode_float32([float(len(text)), 1.0])


def checked(embedder) -> tuple[CheckedEmbedder, list[int]]:
    calls: list[int] = []
    return CheckedEmbedder(embedder, on_call=lambda: calls.append(1)), calls


async def test_a_batch_is_one_call_and_keeps_its_order():
    inner = LengthEmbedder()
    embedder, calls = checked(inner)
    texts = ["x" * n for n in range(300)]
    assert await embedder.embed_documents(texts, 2) == [stored(text) for text in texts]
    assert inner.batches == [300]
    assert len(calls) == 1
    assert await embedder.embed_each(texts, 2) == [stored(text) for text in texts]
    assert len(calls) == 2


async def test_no_texts_are_no_call():
    embedder, calls = checked(LengthEmbedder())
    assert await embedder.embed_documents([], 2) == await embedder.embed_each([], 2) == []
    assert not calls


async def test_a_batch_gives_the_bytes_that_one_text_gives():
    embedder, _ = checked(WordLlamaEmbedder())
    texts = ["dark mode", "", "Maya is allergic to walnuts.", "日本語 😀"]
    alone = [await embedder.embed_document(text, 256) for text in texts]
    assert await embedder.embed_documents(texts, 256) == alone


async def test_what_inherits_from_the_default_embeds_by_its_own_method():
    class Louder(WordLlamaEmbedder):
        async def embed_documents(self, texts):
            return await super().embed_documents([text.upper() for text in texts])

    embedder, _ = checked(Louder(64))
    plain, _ = checked(WordLlamaEmbedder(64))
    assert await embedder.embed_documents(["dark mode"], 64) == await plain.embed_documents(["DARK MODE"], 64)
    assert await plain.embed_documents(["dark mode"], 64) != await plain.embed_documents(["DARK MODE"], 64)


@pytest.mark.parametrize("answer", [[], [[1.0, 2.0]], [[1.0, 2.0]] * 3, None, 5])
async def test_another_number_of_vectors_than_texts_is_refused(answer):
    class Miscounts(LengthEmbedder):
        async def embed_documents(self, texts):
            return answer

    embedder, _ = checked(Miscounts())
    with pytest.raises(EmbeddingError, match=r"lengths returned (\d vectors for 2 texts|NoneType|int)"):
        await embedder.embed_documents(["a", "b"], 2)


async def test_one_unusable_vector_refuses_the_batch_and_costs_its_neighbours_nothing():
    class Empties(LengthEmbedder):
        async def embed_documents(self, texts):
            return [[0.0, 0.0] if text == "nothing" else [float(len(text)), 1.0] for text in texts]

    embedder, calls = checked(Empties())
    with pytest.raises(EmbeddingError, match="all zeros"):
        await embedder.embed_documents(["a", "nothing", "b"], 2)
    first, fault, last = await embedder.embed_each(["a", "nothing", "b"], 2)
    assert (first, last) == (stored("a"), stored("b"))
    assert isinstance(fault, EmbeddingError)
    assert len(calls) == 2, "nothing is asked again for a vector that came"


async def test_vectors_of_another_length_than_the_index_are_refused_each():
    embedder, _ = checked(LengthEmbedder())
    with pytest.raises(EmbeddingError, match="has 2 numbers, expected 3"):
        await embedder.embed_documents(["a", "b"], 3)
    assert all(isinstance(place, EmbeddingError) for place in await embedder.embed_each(["a", "b"], 3))


async def test_without_a_known_length_the_first_vector_decides():
    async def embed(text: str) -> list[float]:
        return [1.0] * len(text)

    embedder, _ = checked(FunctionEmbedder(embed))
    places = await embedder.embed_each(["aa", "bbb", "cc"], None)
    assert [isinstance(place, bytes) for place in places] == [True, False, True]


@given(st.lists(st.booleans(), max_size=60).filter(lambda bad: not all(bad) or len(bad) == 0))
async def test_only_bad_texts_carry_an_error(bad):
    # Runs of bad texts short enough not to look like an embedder that is down.
    texts = [f"{'bad' if is_bad else 'good'} {place}" for place, is_bad in enumerate([*bad, False])]
    embedder, _ = checked(LengthEmbedder())
    places = await embedder.embed_each(texts, 2)
    for text, place in zip(texts, places, strict=True):
        if text.startswith("bad"):
            assert isinstance(place, EmbeddingError)
            assert "ValueError: input too long" in str(place)
        else:
            assert place == stored(text)


@pytest.mark.parametrize("place", [0, 100, 255])
async def test_one_bad_text_of_256_costs_seventeen_calls(place):
    embedder, calls = checked(LengthEmbedder())
    texts = ["good"] * 256
    texts[place] = "bad"
    places = await embedder.embed_each(texts, 2)
    assert [position for position, found in enumerate(places) if not isinstance(found, bytes)] == [place]
    assert len(calls) == 17


async def test_a_long_run_of_bad_texts_costs_no_neighbour():
    embedder, _ = checked(LengthEmbedder())
    texts = ["bad"] * 200 + ["good"] * 56
    places = await embedder.embed_each(texts, 2)
    assert [isinstance(place, bytes) for place in places] == [text == "good" for text in texts]


@pytest.mark.parametrize("count", [256, 500, 5000])
async def test_an_embedder_that_always_fails_costs_thirty_two_calls_whatever_the_batch(count):
    embedder, calls = checked(LengthEmbedder())
    places = await embedder.embed_each(["bad"] * count, 2)
    assert len(calls) == 32
    assert places.given_up is not None
    untried = [place for place in places if place is places.given_up]
    assert len(untried) >= count - 32
    assert all(isinstance(place, EmbeddingError) for place in places)


async def test_fewer_texts_than_it_takes_to_give_up_are_each_tried():
    embedder, calls = checked(LengthEmbedder())
    places = await embedder.embed_each(["bad"] * 16, 2)
    assert (len(calls), places.given_up) == (31, None)
    assert len({id(place) for place in places}) == 16


BAD_PLACES = {
    "the first and the last": [*range(15), 499],
    "the first, the last and the middle": [*range(15), 250, 499],
    "every second": range(0, 500, 2),
    "all but every fifth": [place for place in range(500) if place % 5],
    "all but the last": range(499),
    "all but ten in the middle": [*range(250), *range(260, 500)],
}


@pytest.mark.parametrize("places", BAD_PLACES.values(), ids=BAD_PLACES)
async def test_no_good_text_is_given_up_wherever_the_bad_ones_are(places):
    texts = ["good"] * 500
    for place in places:
        texts[place] = "bad"
    embedder, calls = checked(LengthEmbedder())
    found = await embedder.embed_each(texts, 2)
    assert [isinstance(place, bytes) for place in found] == [text == "good" for text in texts]
    assert found.given_up is None
    assert len(calls) < 1000


class AnsweredError(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "calls_made"),
    [
        (TimeoutError("no answer"), 2),
        (ConnectionRefusedError("refused"), 2),
        (socket.gaierror("no such host"), 2),
        (EmbedderUnavailableError("down"), 2),
        (ConfigurationError("no weights"), 1),
        (AnsweredError(401), 1),
        (AnsweredError(429), 2),
        (AnsweredError(503), 2),
        (FileNotFoundError("attachment.png"), 15),
        (PermissionError("attachment.png"), 15),
        (AnsweredError(413), 15),
        (InvalidInputError("a lone surrogate"), 15),
    ],
)
async def test_what_no_text_has_caused_is_not_tried_again_text_by_text(error, calls_made):
    embedder, calls = checked(LengthEmbedder(error))
    places = await embedder.embed_each(["good", "bad", *["good"] * 126], 2)
    assert len(calls) == calls_made
    assert sum(isinstance(place, bytes) for place in places) == (127 if calls_made == 15 else 0)
    assert (places.given_up is None) is (calls_made == 15)


class FailsOnce(LengthEmbedder):
    """Its first call does not get through."""

    async def embed_documents(self, texts):
        if not self.batches:
            self.batches.append(len(texts))
            raise ConnectionResetError("reset by peer")
        return await super().embed_documents(texts)


async def test_a_batch_that_does_not_get_through_once_is_asked_again():
    embedder, calls = checked(FailsOnce())
    places = await embedder.embed_each(["good"] * 300, 2)
    assert places == [stored("good")] * 300
    assert len(calls) == 2


async def test_what_has_been_asked_again_already_is_not_asked_again():
    inner = LengthEmbedder(TimeoutError("no answer"))
    async with CoalescingEmbedder(inner, CallLimits(attempts=2, longest_pause_seconds=0)) as patient:
        embedder, calls = checked(patient)
        places = await embedder.embed_each([f"bad {place}" for place in range(10)], 2)
    assert isinstance(places.given_up, EmbedderUnavailableError)
    assert (len(calls), inner.batches) == (1, [10, 10])


class Service:
    """An embedding function that fails as it is told, for texts by their number."""

    def __init__(self, failures: dict[str, Exception] | None = None) -> None:
        self.failures = failures or {}
        self.asked: list[str] = []

    async def __call__(self, text: str) -> list[float]:
        self.asked.append(text)
        await asyncio.sleep(0)
        if text in self.failures:
            raise self.failures[text]
        return [float(len(text)), 1.0]


@pytest.mark.parametrize(
    "error", [ConnectionError("reset"), FileNotFoundError("attachment.png"), TimeoutError(), AnsweredError(403)]
)
async def test_what_fails_for_one_text_of_a_function_costs_no_other_and_no_call(error):
    service = Service({"text 250": error})
    embedder, calls = checked(FunctionEmbedder(service))
    texts = [f"text {place}" for place in range(500)]
    places = await embedder.embed_each(texts, None)
    assert [texts[place] for place, found in enumerate(places) if not isinstance(found, bytes)] == ["text 250"]
    assert (len(service.asked), len(calls), places.given_up) == (500, 1, None)


@pytest.mark.parametrize("bad", [[7], range(100), range(0, 500, 5), range(400, 500)])
async def test_bad_texts_of_a_function_cost_one_call_each(bad):
    service = Service({f"text {place}": ValueError(f"{place} is too long") for place in bad})
    embedder, _ = checked(FunctionEmbedder(service))
    places = await embedder.embed_each([f"text {place}" for place in range(500)], None)
    assert [place for place, found in enumerate(places) if not isinstance(found, bytes)] == list(bad)
    assert len(service.asked) == 500
    assert all(f"{place} is too long" in str(places[place]) for place in bad)


async def test_a_function_whose_service_goes_down_is_given_up_and_what_it_made_is_kept():
    service = Service({f"text {place}": ConnectionRefusedError(f"{place}") for place in range(100, 500)})
    embedder, _ = checked(FunctionEmbedder(service))
    places = await embedder.embed_each([f"text {place}" for place in range(500)], None)
    assert [isinstance(place, bytes) for place in places] == [True] * 100 + [False] * 400
    assert isinstance(places.given_up, EmbedderUnavailableError)
    assert all(place is places.given_up for place in places[100:])
    assert len(service.asked) == 108


@pytest.mark.parametrize("count", [1, 2, 500])
async def test_a_service_that_is_down_costs_eight_calls_at_most_and_one_error(count):
    service = Service({f"text {place}": ConnectionRefusedError(f"{place}") for place in range(count)})
    embedder, _ = checked(FunctionEmbedder(service))
    places = await embedder.embed_each([f"text {place}" for place in range(count)], None)
    assert len(service.asked) == min(count, 8)
    assert places.given_up is not None
    assert all(place is places.given_up for place in places)


async def test_a_function_that_fails_alike_for_every_text_gives_one_error():
    # What a store takes for a batch that failed as a whole.
    service = Service({f"text {place}": KeyError("embedding") for place in range(50)})
    embedder, _ = checked(FunctionEmbedder(service))
    places = await embedder.embed_each([f"text {place}" for place in range(50)], None)
    assert len({id(place) for place in places}) == 1
    assert places.given_up is None


class OneByOne(LengthEmbedder):
    """A user's embedder that tells each text's outcome in a plain list."""

    answer: object = None

    async def embed_each(self, texts):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or [KeyError(text) if text == "bad" else [1.0] * len(text) for text in texts]


async def test_an_embedder_of_ones_own_may_tell_each_outcome():
    embedder, calls = checked(OneByOne())
    places = await embedder.embed_each(["a2", "bad", "abc", "b2"], None)
    assert [isinstance(place, bytes) for place in places] == [True, False, False, True]
    assert "lengths failed: KeyError: 'bad'" in str(places[1])
    assert "has 3 numbers, expected 2" in str(places[2])
    assert len(calls) == 1


@pytest.mark.parametrize("answer", [ValueError("broken"), [[1.0]], 5])
async def test_an_embedder_that_fails_to_tell_fails_for_all(answer):
    inner = OneByOne()
    inner.answer = answer
    embedder, _ = checked(inner)
    places = await embedder.embed_each(["a", "b"], None)
    assert isinstance(places.given_up, EmbeddingError)
    assert all(place is places.given_up for place in places)


async def test_without_an_embedder_a_batch_is_refused():
    embedder, _ = checked(None)
    for embed in (embedder.embed_documents, embedder.embed_each):
        with pytest.raises(ConfigurationError, match="needs an embedder"):
            await embed(["a"], 2)


numbers = st.one_of(
    st.floats(width=32), st.sampled_from([0.0, 1.0, 2.0, 1e-30, 3e38, 1e39, True, False, 1, 10**400, "x", None])
)


@given(
    st.lists(st.lists(numbers, min_size=3, max_size=3) | st.lists(numbers, max_size=4) | st.none(), max_size=6),
    st.sampled_from([None, 3]),
)
def test_a_batch_is_judged_row_by_row(rows, dimensions):
    found = encode_rows(rows, dimensions=dimensions)
    assert len(found) == len(rows)
    for row, place in zip(rows, found, strict=True):
        try:
            expected = encode_float32(checked_vector(row, dimensions=dimensions))
            dimensions = dimensions or len(expected) // 4
        except EmbeddingError as refused:
            fault = refused
        else:
            assert place == expected
            continue
        assert isinstance(place, EmbeddingError)
        assert str(place) == str(fault)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4", np.int8])
def test_one_array_of_all_rows_is_a_batch(kind):
    rows = np.array([[1, 2], [3, 4]], kind)
    assert encode_rows(rows) == [encode_float32([1.0, 2.0]), encode_float32([3.0, 4.0])]
    assert encode_rows(list(rows)) == encode_rows(rows)
