from __future__ import annotations

import array
import decimal
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.embedders.vectors import checked_vector, decode_float32, encode_float32
from betterdb_agent_memory.errors import EmbeddingError, InvalidInputError

# Lengths whose square float32 can hold, which is what every engine needs.
usable_numbers = st.floats(-(2.0**50), 2.0**50, width=32).filter(lambda number: number == 0 or abs(number) > 1e-15)
usable_vectors = st.lists(usable_numbers, min_size=1, max_size=40).filter(any)


@given(usable_vectors)
def test_every_usable_vector_survives_storing_bit_by_bit(values):
    vector = checked_vector(values)
    assert vector.dtype == np.float32
    assert vector.tolist() == values
    stored = encode_float32(vector)
    assert stored == struct.pack(f"<{len(values)}f", *values)
    assert decode_float32(stored).tobytes() == vector.tobytes()


@given(usable_vectors)
def test_every_container_of_the_same_numbers_gives_the_same_vector(values):
    expected = checked_vector(values).tobytes()
    for container in (
        tuple(values),
        array.array("f", values),
        array.array("d", values),
        np.array(values, np.float32),
        np.array(values, np.float64),
        np.array(values, ">f4"),
        np.repeat(np.array(values), 2)[::2],
        [np.float32(value) for value in values],
    ):
        assert checked_vector(container).tobytes() == expected


@given(st.lists(st.floats(), max_size=8))
def test_a_vector_is_either_refused_or_has_a_cosine_distance_to_itself(values):
    try:
        vector = checked_vector(values)
    except EmbeddingError:
        return
    # float32 throughout, as engines compute it
    length = np.sqrt(np.dot(vector, vector))
    assert np.isfinite(length)
    assert np.dot(vector / length, vector / length) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("values", [[1, 2], (3,), np.array([1, 2], np.int8), array.array("i", [7]), [2**63, 1.5]])
def test_whole_numbers_are_numbers(values):
    assert checked_vector(values).tolist() == [float(np.float32(value)) for value in values]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "empty"),
        (np.array([]), "empty"),
        (5.0, "one dimension"),
        ([[1.0, 2.0]], r"\(1, 2\)"),
        (np.ones((2, 2)), r"\(2, 2\)"),
        ([[1.0], [1.0, 2.0]], "list"),
        ("1.0", "got str"),
        (b"\x00\x00\x80\x3f", "got bytes"),
        (bytearray(4), "got bytearray"),
        ({"a": 1.0}, "got dict"),
        ({1.0, 2.0}, "got set"),
        (None, "NoneType"),
        ((number for number in [1.0]), "generator"),
        ([1.0, True], "boolean"),
        ([np.True_, 1.0], "boolean"),
        (np.array([True]), "bool"),
        ([1.0, "2.0"], "position 1 holds str"),
        ([1.0, None], "position 1 holds NoneType"),
        ([1.0, 1j], "position 1 holds complex"),
        ([decimal.Decimal(1)], "position 0 holds Decimal"),
        (np.array(["a"]), "elements of type"),
        ([1.0, math.nan], "position 1, nan, is not a number"),
        ([math.inf], "position 0, inf, does not fit"),
        ([0.0, -1e39], "position 1, -1e.39, does not fit"),
        ([10**400], "too large"),
        ([0.0, -0.0], "all zeros"),
        ([1e-60], "all zeros"),
        ([1e-30], "normalise"),
        ([3e38, 3e38], "normalise"),
    ],
)
def test_what_is_no_usable_vector_is_refused_with_the_reason(values, reason):
    with pytest.raises(EmbeddingError, match=reason):
        checked_vector(values)


def test_the_caller_chooses_the_error():
    with pytest.raises(InvalidInputError):
        checked_vector([], error=InvalidInputError)
    with pytest.raises(InvalidInputError):
        decode_float32(b"", error=InvalidInputError)


def test_another_length_than_stated_is_refused():
    assert checked_vector([1.0, 2.0], dimensions=2).shape == (2,)
    with pytest.raises(EmbeddingError, match="has 2 numbers, expected 3"):
        checked_vector([1.0, 2.0], dimensions=3)


def test_a_checked_vector_is_a_copy():
    values = np.array([1.0, 2.0], np.float32)
    vector = checked_vector(values)
    values[0] = 9
    assert vector.tolist() == [1.0, 2.0]


def test_decoding_reads_any_buffer_into_an_array_of_its_own():
    stored = bytearray(encode_float32([1.0, 2.0]))
    vector = decode_float32(memoryview(stored))
    stored[:] = bytes(8)
    vector[0] = 5
    assert vector.tolist() == [5.0, 2.0]


@pytest.mark.parametrize("length", [0, 1, 3, 5])
def test_bytes_that_are_no_whole_numbers_are_refused(length):
    with pytest.raises(EmbeddingError, match=f"has {length}"):
        decode_float32(bytes(length))
