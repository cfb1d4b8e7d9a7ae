"""Vectors asked for lately, in the memory of this process."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

LOCAL_SECONDS: Final = 300.0
"""How long a vector is held here: after this a `clear` by another worker is felt."""

_OVERHEAD_BYTES: Final = 250
"""What an entry takes beside its numbers: key, array object and places in the table."""


class LocalVectors:
    """At most `max_bytes` of vectors; the one that was used longest ago leaves first. No I/O.

    `now_seconds` is a clock that only moves forward; what `until_seconds` says is a time of it.
    """

    def __init__(self, max_bytes: int, *, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self.now_seconds = now_seconds
        self._vectors: OrderedDict[bytes, tuple[NDArray[np.float32], float]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The vector, if it was put here within the last five minutes and has not expired."""
        found = self._vectors.get(digest)
        if found is None:
            return None
        vector, until_seconds = found
        if self.now_seconds() >= until_seconds:
            self._remove(digest)
            return None
        self._vectors.move_to_end(digest)
        return vector

    def put(self, digest: bytes, vector: NDArray[np.float32], *, until_seconds: float = math.inf) -> None:
        """Hold a vector that nobody changes any more, until then at most; one that alone is too large is not held."""
        self._remove(digest)
        size = vector.nbytes + _OVERHEAD_BYTES
        if size > self._max_bytes:
            return
        self._vectors[digest] = vector, min(until_seconds, self.now_seconds() + LOCAL_SECONDS)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._remove(next(iter(self._vectors)))

    def clear(self) -> None:
        """Drop all of them."""
        self._vectors.clear()
        self.bytes = 0

    def _remove(self, digest: bytes) -> None:
        removed = self._vectors.pop(digest, None)
        if removed is not None:
            self.bytes -= removed[0].nbytes + _OVERHEAD_BYTES
