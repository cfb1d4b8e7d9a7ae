"""Batches lose nothing and keep to their limits; condensing ends."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import MemoryItem
from betterdb_agent_memory.errors import ConsolidationError
from betterdb_agent_memory.memory.consolidation.batching import Batches, InputLimits, split_text
from betterdb_agent_memory.memory.consolidation.condensing import Condensed, condense


def memory(id: str, content: str) -> MemoryItem:
    return MemoryItem(id, content, 0.5, [], 1, 1, 0)


@given(st.text(alphabet="ab .!?\n世", max_size=300), st.integers(1, 50))
def test_pieces_are_short_enough_and_make_up_the_text(text: str, longest: int) -> None:
    pieces = split_text(text, longest)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= longest for piece in pieces) or text == ""


def test_text_is_cut_after_sentences_else_after_words_else_anywhere() -> None:
    assert split_text("One two three. Four five six. Seven.", 20) == ["One two three. ", "Four five six. ", "Seven."]
    assert split_text("one two three four", 9) == ["one two ", "three ", "four"]
    assert split_text("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert split_text("Hi. a long sentence that goes on", 16) == ["Hi. a long ", "sentence that ", "goes on"]


@given(
    st.lists(st.text(alphabet="ab. ", max_size=40), max_size=40),
    st.integers(2, 7),
    st.none() | st.integers(5, 60),
)
def test_batches_take_everything_in_order_within_the_limits(
    contents: list[str], batch_size: int, max_input_chars: int | None
) -> None:
    batches = Batches(InputLimits(batch_size, max_input_chars))
    found = [batch for n, content in enumerate(contents) for batch in batches.add(memory(str(n), content))]
    found += batches.rest()
    assert list(batches.rest()) == []
    parts: dict[str, str] = {}
    for item in (item for batch in found for item in batch):
        parts[item.id] = parts.get(item.id, "") + item.content
    assert list(parts) == [str(n) for n in range(len(contents))]
    assert list(parts.values()) == contents
    nothing: list[MemoryItem] = []
    for batch, following in itertools.zip_longest(found, found[1:], fillvalue=nothing):
        size = sum(len(item.content) for item in batch)
        assert 0 < len(batch) <= batch_size
        assert max_input_chars is None or size <= max_input_chars
        is_full = len(batch) == batch_size or (
            max_input_chars is not None and following and size + len(following[0].content) > max_input_chars
        )
        assert is_full or not following, "no batch ends while there is room"


def condensed(texts: list[str], shorten: object, limits: InputLimits) -> tuple[Condensed, list[int], list[int]]:
    passes: list[int] = []
    sizes: list[int] = []

    async def summarize(memories: list[MemoryItem]) -> str:
        assert {item.source for item in memories} == {"summary"}
        sizes.append(sum(len(item.content) for item in memories))
        text = "".join(item.content for item in memories)
        return shorten(text)  # type: ignore[operator, no-any-return]

    result = asyncio.run(condense(texts, summarize, limits=limits, now_ms=1, importance=0.7, on_pass=passes.append))
    return result, passes, sizes


@given(st.lists(st.text(alphabet="ab ", min_size=1, max_size=90), min_size=1, max_size=40), st.integers(100, 200))
def test_halving_texts_ends_with_one(texts: list[str], max_input_chars: int) -> None:
    result, passes, sizes = condensed(
        texts, lambda text: text[: max(1, len(text) // 2)], InputLimits(10_000, max_input_chars)
    )
    assert result.calls == len(sizes)
    assert passes[0] == len(texts)
    assert passes[-1] == 1
    assert all(size <= max_input_chars for size in sizes)


@given(st.integers(1, 60), st.integers(2, 9))
def test_without_a_limit_on_characters_even_a_parrot_ends(count: int, batch_size: int) -> None:
    result, _, _ = condensed([f"{n};" for n in range(count)], lambda text: text, InputLimits(batch_size))
    assert result.text == "".join(f"{n};" for n in range(count)), "in order, nothing lost"


@pytest.mark.parametrize("shorten", [lambda text: text, lambda text: text * 2, lambda text: text[: len(text) - 1]])
def test_what_would_go_on_for_ever_is_an_error(shorten: object) -> None:
    with pytest.raises(ConsolidationError, match="does not shorten"):
        condensed(["x" * 90] * 5, shorten, InputLimits(10_000, 100))
