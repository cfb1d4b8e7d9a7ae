"""Vectors at the border: checked once when they come in, four little-endian bytes a number when stored.

Pure functions. A vector that passes `checked_vector` has a cosine distance to every other one that
passed, on every engine: all numbers finite in float32, and a length whose square float32 can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from betterdb_agent_memory.errors import AgentMemoryError, EmbeddingError

_BYTES_PER_NUMBER: Final = 4
_STORED: Final = np.dtype("<f4")

# Engines square and sum in float32. Outside these bounds that sum is infinite or loses its digits, and
# the cosine distance with it.
_SMALLEST_SQUARED_LENGTH: Final = float(np.finfo(np.float32).tiny)
_LARGEST_SQUARED_LENGTH: Final = float(np.finfo(np.float32).max)


def checked_vector(
    values: object,
    *,
    dimensions: int | None = None,
    error: type[AgentMemoryError] = EmbeddingError,
) -> NDArray[np.float32]:
    """Return `values` as a new float32 array of shape `(length,)`, or say why it is no usable vector.

    `values` is a list, tuple, `array.array`, numpy array or anything else numpy reads as one row of
    real numbers. `dimensions` is the length it must have; None accepts any but zero. `error` is
    what a refusal raises: the default `EmbeddingError` for what an embedder returned,
    `InvalidInputError` for what a caller passed.

    Refused: other shapes, an empty vector, booleans, text, bytes and other things that are not real
    numbers, NaN, infinite numbers and numbers that float32 cannot hold, a length other than
    `dimensions`. A vector of zeros is refused as well, and one whose squared Euclidean length float32
    cannot hold: its cosine distance is undefined, so it could never be found again.

    >>> checked_vector([3, 4.5]).tolist()
    [3.0, 4.5]
    >>> checked_vector([0.0, 0.0])
    Traceback (most recent call last):
    ...
    betterdb_agent_memory.errors.EmbeddingError: the vector is all zeros, ...
    """
    numbers = _real_numbers(values, error)
    if numbers.ndim != 1:
        raise error(f"a vector has one dimension, this one has the shape {numbers.shape}; pass one flat row of numbers")
    if numbers.size == 0:
        raise error("the vector is empty; an embedder must return at least one number")
    if dimensions is not None and numbers.size != dimensions:
        raise error(
            f"the vector has {numbers.size} numbers, expected {dimensions}; "
            "vectors of different models cannot be mixed in one store"
        )
    if numbers.dtype == np.float32:
        vector = numbers.astype(np.float32)
    else:
        with np.errstate(over="ignore", under="ignore"):
            vector = numbers.astype(np.float32)
    wide = vector.astype(np.float64)
    # A sum of squares within these bounds has no summand that is infinite or no number.
    if not _SMALLEST_SQUARED_LENGTH <= float(wide @ wide) <= _LARGEST_SQUARED_LENGTH:
        _refuse_not_finite(numbers, vector, error)
        _refuse_without_direction(vector, error)
    return vector


def encode_float32(vector: ArrayLike) -> bytes:
    """The stored form of a checked vector: 4 bytes a number, little-endian IEEE 754, nothing around it.

    >>> encode_float32([1.0, -2.0]).hex()
    '0000803f000000c0'
    """
    return np.asarray(vector, dtype=_STORED).tobytes()


def encode_rows(
    vectors: Sequence[object] | NDArray[np.generic], *, dimensions: int | None = None
) -> list[bytes | EmbeddingError]:
    r"""The stored form of every vector of a batch, or why that one is unusable; in order, none raised.

    Each is judged as `checked_vector` would. Without stated `dimensions` the first usable vector's
    length is every other's. A batch of equal rows without a fault is encoded as one array.

    >>> encode_rows([[1.0, -2.0], [0.0, 0.0]])
    [b'\x00\x00\x80?\x00\x00\x00\xc0', EmbeddingError('the vector is all zeros, ...)]
    """
    matrix = _matrix_without_fault(vectors, dimensions)
    if matrix is not None:
        stored, row_bytes = matrix.tobytes(), matrix.shape[1] * _BYTES_PER_NUMBER
        return [stored[start : start + row_bytes] for start in range(0, len(stored), row_bytes)]
    encoded: list[bytes | EmbeddingError] = []
    for vector in vectors:
        try:
            usable = checked_vector(vector, dimensions=dimensions)
        except EmbeddingError as fault:
            encoded.append(fault)
        else:
            dimensions = usable.size
            encoded.append(encode_float32(usable))
    return encoded


def decode_float32(
    stored: bytes | bytearray | memoryview, *, error: type[AgentMemoryError] = EmbeddingError
) -> NDArray[np.float32]:
    """The numbers behind `encode_float32`, shape `(len(stored) // 4,)`, as an array of its own.

    Raises `error` when the bytes are none or not whole numbers. What the numbers are is not checked
    here: a reader decides whether a record of someone else's is worth keeping.
    """
    if len(stored) == 0 or len(stored) % _BYTES_PER_NUMBER:
        raise error(f"a stored vector is a positive multiple of {_BYTES_PER_NUMBER} bytes, this one has {len(stored)}")
    return np.frombuffer(stored, dtype=_STORED).astype(np.float32)


def _matrix_without_fault(
    vectors: Sequence[object] | NDArray[np.generic], dimensions: int | None
) -> NDArray[np.float32] | None:
    """All rows as one float32 array, or None where only a look at each can tell what is wrong."""
    try:
        numbers = np.asarray(vectors)
    except (ValueError, TypeError, OverflowError, RuntimeError):
        return None
    if numbers.ndim != 2 or not numbers.size or numbers.dtype.kind not in "fiu":
        return None
    if dimensions is not None and numbers.shape[1] != dimensions:
        return None
    if numbers is not vectors:
        for row in ((numbers == 0) | (numbers == 1)).any(axis=1).nonzero()[0]:
            # numpy reads True next to floats as 1.0.
            if _holds_boolean(vectors[row], numbers[row]):
                return None
    with np.errstate(over="ignore", under="ignore"):
        matrix = numbers.astype(_STORED)
        squared_lengths = np.square(matrix, dtype=np.float64).sum(axis=1)
    # NaN fails both comparisons.
    sound = (squared_lengths >= _SMALLEST_SQUARED_LENGTH) & (squared_lengths <= _LARGEST_SQUARED_LENGTH)
    return matrix if sound.all() else None


def _real_numbers(values: object, error: type[AgentMemoryError]) -> NDArray[np.generic]:
    # numpy reads these as numbers or as one opaque object, never as what the caller meant.
    if isinstance(values, (str, bytes, bytearray, memoryview, Mapping, Set)):
        raise error(f"a vector is a row of numbers, got {type(values).__name__}")
    try:
        numbers = np.asarray(values)
    except (ValueError, TypeError, OverflowError, RuntimeError) as cause:
        raise error(f"cannot read {type(values).__name__} as a row of numbers: {cause}") from cause
    if _holds_boolean(values, numbers):
        raise error("a vector holds numbers, this one holds a boolean")
    if numbers.dtype.kind in "fiu":
        return numbers
    if isinstance(values, (list, tuple)):
        raise error(_why_not_numbers(values))
    raise error(f"a vector holds real numbers, got {type(values).__name__} with elements of type {numbers.dtype}")


def _holds_boolean(values: object, numbers: NDArray[np.generic]) -> bool:
    if numbers.dtype.kind == "b":
        return True
    # In a list next to floats, numpy turns True into 1.0 without a word. The types are looked at only
    # where a number could have been one: that takes as long as all else.
    if not isinstance(values, (list, tuple)) or not ((numbers == 0) | (numbers == 1)).any():
        return False
    return not {bool, np.bool_}.isdisjoint(map(type, values))


def _why_not_numbers(values: list[object] | tuple[object, ...]) -> str:
    for position, value in enumerate(values):
        if isinstance(value, int):
            continue
        if not isinstance(value, (float, np.floating, np.integer)):
            return f"a vector holds real numbers, position {position} holds {type(value).__name__}"
    return "the vector holds an integer too large for float32"


def _refuse_not_finite(
    numbers: NDArray[np.generic], vector: NDArray[np.float32], error: type[AgentMemoryError]
) -> None:
    finite = np.isfinite(vector)
    if finite.all():
        return
    position = int(np.argmin(finite))
    value = numbers[position].item()
    reason = "is not a number" if value != value else "does not fit float32 (largest 3.4e38)"
    raise error(f"the vector's number at position {position}, {value}, {reason}")


def _refuse_without_direction(vector: NDArray[np.float32], error: type[AgentMemoryError]) -> None:
    if not vector.any():
        raise error(
            "the vector is all zeros, so its cosine distance is undefined; "
            "embed a text with content or leave this one out"
        )
    squared_length = float(np.square(vector, dtype=np.float64).sum())
    if not _SMALLEST_SQUARED_LENGTH <= squared_length <= _LARGEST_SQUARED_LENGTH:
        raise error(
            f"the vector's Euclidean length {squared_length**0.5:.3g} is outside what float32 can square, "
            "so its cosine distance is undefined; normalise it to length 1"
        )
