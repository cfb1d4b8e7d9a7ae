"""How turns are keyed, what is embedded of them, and how their vectors are mixed."""

from __future__ import annotations

import asyncio
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from betterdb_agent_memory.embedders.vectors import decode_float32, encode_float32
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.turns import (
    Window,
    all_around,
    ids_around,
    is_turn,
    session_key,
    spoken,
    stored_vectors,
    turn_id,
    window_of,
)
from betterdb_agent_memory.memory.windows import mixed_vectors

KEY = session_key("first", MemoryScope("t"))

vectors = arrays(np.float32, 6, elements=st.floats(-8, 8, width=32)).filter(lambda vector: np.linalg.norm(vector) > 0.1)


def turn(number: int, content: str, *, speaker: str | None = None, session: str = "first") -> Fields:
    fields = {
        record.CONTENT: content.encode(),
        record.SESSION: session.encode(),
        record.TURN: str(number).encode(),
        record.THREAD: b"t",
    }
    return fields if speaker is None else {**fields, record.SPEAKER: speaker.encode()}


def unit(vector: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vector / np.linalg.norm(vector)
    return scaled


def mix(own: np.ndarray, previous: np.ndarray | None = None, following: np.ndarray | None = None) -> np.ndarray:
    """The stored vector of a turn whose texts have these vectors."""
    given = {"own": own, "previous": previous, "following": following}
    known = {text: encode_float32(vector) for text, vector in given.items() if vector is not None}
    [stored] = stored_vectors([Window("own", "previous", "following", is_turn=True)], known)
    return decode_float32(stored)


@given(vectors, vectors, st.none() | vectors)
def test_a_mix_has_length_one_and_leans_to_the_turn_itself(
    own: np.ndarray, previous: np.ndarray, following: np.ndarray | None
) -> None:
    mixed = mix(own, previous, following)
    assert np.linalg.norm(mixed) == pytest.approx(1, abs=1e-5)
    u = unit(own.astype(float))
    together = u + unit(previous.astype(float)) + (0 if following is None else unit(following.astype(float)))
    if np.linalg.norm(together) > 1e-3:
        # Between the two directions: nearer to each of them than they are to each other.
        assert mixed @ u >= u @ unit(together) - 1e-4
        assert mixed @ unit(together) >= u @ unit(together) - 1e-4


@given(vectors, vectors, vectors, st.sampled_from([0.25, 0.5, 2, 16]), st.sampled_from([0.25, 0.5, 2, 16]))
def test_lengths_of_vectors_do_not_weigh(
    own: np.ndarray, previous: np.ndarray, following: np.ndarray, one: float, other: float
) -> None:
    scaled = mix(own, np.float32(one) * previous, np.float32(other) * following)
    assert mix(own, previous, following) == pytest.approx(scaled, abs=1e-5)


def test_half_is_the_turn_and_half_its_window() -> None:
    own, previous, following = np.eye(3, dtype=np.float32)
    window = (own + previous + following) / 3**0.5
    assert mix(own, previous, following) == pytest.approx((own + window) / np.linalg.norm(own + window))
    assert mix(own) == pytest.approx(own)


def test_neighbours_that_cancel_a_turn_out_leave_it_as_it_is() -> None:
    own = np.array([1, 0], dtype=np.float32)
    assert mix(own, -own) == pytest.approx(own)
    assert mix(own, -own, -own) == pytest.approx(own)


@pytest.mark.parametrize(
    ("content", "speaker", "embedded"),
    [
        ("Yes, that one.", "Maya", "Maya: Yes, that one."),
        ("Maya: Yes.", "Maya", "Maya: Yes."),
        ("[maya] Yes.", "Maya", "[maya] Yes."),
        ("Mayan temples are old.", "Maya", "Maya: Mayan temples are old."),
        ("C is a language.", "C++", "C++: C is a language."),
        ("Yes.", None, "Yes."),
        ("Yes.", "", "Yes."),
        ("Yes.", "user", "Yes."),
        ("Yes.", "Assistant", "Yes."),
        ("Yes.", "tool", "Yes."),
        ("Yes.", "Tool Man", "Tool Man: Yes."),
    ],
)
def test_the_speaker_is_embedded_once(content: str, speaker: str | None, embedded: str) -> None:
    assert spoken(content, speaker) == embedded


def test_the_key_of_a_session_is_a_digest_that_others_can_compute() -> None:
    array = json.dumps(["t", None, "ü", "first"], ensure_ascii=False, separators=(",", ":"))
    assert session_key("first", MemoryScope("t", None, "ü")) == hashlib.sha256(array.encode()).hexdigest()[:32]
    assert len({session_key("s", MemoryScope(*scope)) for scope in [("a",), (None, "a"), (None, None, "a"), ()]}) == 4


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_ids_sort_as_turns_do_and_know_their_neighbours(one: int, other: int) -> None:
    if max(one, other) < 10**6:
        assert (turn_id(KEY, one) < turn_id(KEY, other)) == (one < other)
    assert ids_around(turn_id(KEY, one), 2) == [
        turn_id(KEY, near) for near in range(one - 2, one + 3) if near >= 0 and near != one
    ]


def test_what_is_no_turn_has_no_neighbours() -> None:
    assert ids_around("5ee0d7c1-52a8-4e62-a6a1-47b8ad3e4c0a") == ids_around(KEY) == ids_around("notes-000001") == []
    assert all_around([turn_id(KEY, 1), turn_id(KEY, 2), "x"]) == [turn_id(KEY, 0), turn_id(KEY, 3)]


def test_a_window_reaches_neighbours_of_the_same_session_only() -> None:
    records: dict[str, Fields | None] = {
        turn_id(KEY, 0): turn(0, "Which one?", speaker="Ann"),
        turn_id(KEY, 1): turn(1, "That one."),
        turn_id(KEY, 2): None,
        turn_id(KEY, 3): turn(3, "Bye."),
        turn_id(KEY, 4): turn(4, "forged", session="another"),
        "plain": {record.CONTENT: b"a fact"},
    }
    assert window_of(turn_id(KEY, 1), records) == Window("That one.", "Ann: Which one?", None, is_turn=True)
    assert window_of(turn_id(KEY, 3), records) == Window("Bye.", is_turn=True)
    assert window_of("plain", records) == Window("a fact")
    assert not is_turn(turn_id(KEY, 4), turn(4, "forged", session="another"))
    assert not is_turn(turn_id(KEY, 3), {**turn(3, "Bye."), record.THREAD: b"another thread"})


def test_marks_tell_windows_apart() -> None:
    windows = [
        Window("a", is_turn=True),
        Window("a", "b", is_turn=True),
        Window("a", None, "b", is_turn=True),
        Window("b", "a", is_turn=True),
        Window("a"),
    ]
    assert len({window.mark for window in windows}) == len(windows)
    assert Window("a").mark == hashlib.sha256(b"a").hexdigest()[:32].encode()


def test_a_batch_is_what_its_windows_are_one_by_one() -> None:
    known = {text: encode_float32(vector) for text, vector in zip("abc", np.eye(3) + 0.25, strict=True)}
    windows = [Window("a"), Window("a", "b", is_turn=True), Window("c", "x", "a", is_turn=True), Window("b")]
    together = stored_vectors(windows, known)
    assert together == [stored_vectors([window], known)[0] for window in windows]
    assert together[0] == known["a"]
    assert together[2] == stored_vectors([Window("c", None, "a", is_turn=True)], known)[0]


async def test_many_windows_are_mixed_beside_the_event_loop() -> None:
    windows = [Window(str(number), str(number - 1), str(number + 1), is_turn=True) for number in range(100)]
    known = {str(number): encode_float32(np.random.default_rng(number + 1).random(384)) for number in range(-1, 101)}
    others: list[str] = []
    asyncio.get_running_loop().call_soon(others.append, "had their turn")
    assert await mixed_vectors(windows, known) == stored_vectors(windows, known)
    assert others
