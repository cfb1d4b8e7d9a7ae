"""How to go about a vector search, by how many records it is about: pure functions.

Measured with 384 dimensions, 32 neighbours asked for, milliseconds at 20,000 / 100,000 records of RediSearch 2.10:

| share of the index | comparing every vector of the scope | batches from the graph, EF 400 |
|---|---|---|
| 1 % | 0.2 / 0.8 | 16 / 39 (.91 of the ten nearest) |
| 5 % | 0.5 / 13 | 9 / 8 (.96 / .996) |
| 10 % | 0.7 / 12 | 8 / 2.0 (.98 / 1.0) |
| 25 % | 8.4 / 60 | 2.8 / 3.9 (1.0) |
| 50 % | 19 / 140 | 3.3 / 3.6 (1.0) |
| 94 % | 10 / 53 | 3.2 / 1.6 (1.0) |

Left to itself it compares. valkey-search decides well, and walks the graph in large scopes.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_NEIGHBOURS = 4096
"""Largest KNN count that every supported search module takes."""

LARGEST_EF = 4096
"""valkey-search refuses a larger EF_RUNTIME."""

_WHOLE_GRAPH = 4
"""At 50,000 x 384 an EF of 100 finds .95 of the true 8 nearest among 64 candidates, one of 400 .99."""

_LARGE_SHARE = 0.5
"""Part of an index that is hardly different from all of it, to a walk over the graph."""

_LARGE_SCOPE = 5_000
"""Records from which on comparing them all takes longer than walking the graph, unless they are thinly sown."""

_THIN_SHARE = 0.1
"""Part of an index below which a walk meets too few of the scope."""

_VECTORS_A_STEP = 8
"""Vectors that are compared one after the other in the time of one step through the graph."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a search is about: `size` of the `documents` of an index, None where nobody knows."""

    size: int | None
    documents: int

    @property
    def share(self) -> float | None:
        """The part of the index, 0 to 1."""
        if self.size is None or not self.documents:
            return None
        return min(1.0, self.size / self.documents)


def pays_in_batches(count: int, scope: Scope) -> bool:
    """Whether RediSearch had better take records from the graph, batch by batch, and drop those that do not pass.

    Where it does not say so itself, that is: otherwise it compares every vector of the scope.
    """
    share = scope.share
    if scope.size is None or share is None or share < _THIN_SHARE or scope.size < _LARGE_SCOPE:
        return False
    return scope.size >= count / share * _VECTORS_A_STEP


def ef_runtime(count: int, share: float | None, *, least: int, exhaustive: bool = False) -> int:
    """EF_RUNTIME, at least `least`. A walk over the whole graph has more to miss than a search in a narrow scope."""
    if exhaustive:
        return LARGEST_EF
    is_whole = share is not None and share >= _LARGE_SHARE
    return min(LARGEST_EF, max(2 * count, least * _WHOLE_GRAPH if is_whole else least))
