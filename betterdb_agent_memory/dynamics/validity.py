"""Which version of a memory counted when, and the order of a correction and what it corrects.

Time has two axes (Snodgrass, *Developing Time-Oriented Database Applications in SQL*, 1999): when something was so, and
when it was known. Lineage says who replaced whom.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from betterdb_agent_memory.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Version:
    """One version of what is remembered: so from `valid_from_ms` up to, and without, `valid_until_ms` (None is always
    and for ever), and known since `known_from_ms`.
    """

    id: str
    known_from_ms: int
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None

    def __post_init__(self) -> None:
        if self.valid_from_ms is not None and self.valid_until_ms is not None:
            checked_span(self.valid_from_ms, self.valid_until_ms)

    def holds_at(self, at_ms: int) -> bool:
        """Whether it says what was so then."""
        return (self.valid_from_ms is None or self.valid_from_ms <= at_ms) and (
            self.valid_until_ms is None or at_ms < self.valid_until_ms
        )


def checked_span(valid_from_ms: int, valid_until_ms: int) -> None:
    """Refuses a span that ends before it begins, or holds no time at all.

    Raises:
        InvalidInputError: it does.
    """
    if valid_until_ms <= valid_from_ms:
        raise InvalidInputError(
            f"valid_until must be later than valid_from, got {valid_until_ms} ms and {valid_from_ms} ms"
        )


def version_as_of(versions: Iterable[Version], at_ms: int, *, known_ms: int | None = None) -> Version | None:
    """The version of one lineage that tells what was so at `at_ms`, by what was known at `known_ms` (None: all that is
    known). Of several the one that was known last, ties by id; None where nobody knew.
    """
    holding = (
        version
        for version in versions
        if version.holds_at(at_ms) and (known_ms is None or version.known_from_ms <= known_ms)
    )
    return max(holding, key=lambda version: (version.known_from_ms, version.id), default=None)


def lineage(id: str, supersedes: Mapping[str, str]) -> list[str]:
    """What `id` supersedes, and what that did, up to the first version: latest first, `id` included.

    Raises:
        InvalidInputError: a version supersedes itself in the end.
    """
    chain = [id]
    seen = {id}
    while (older := supersedes.get(chain[-1])) is not None:
        if older in seen:
            raise InvalidInputError(f"{older!r} would supersede itself: {' -> '.join([*chain, older])}")
        chain.append(older)
        seen.add(older)
    return chain


def corrections_first(ranked: Sequence[str], supersedes: Mapping[str, str]) -> list[str]:
    """The same ids in their order, but for corrections: each stands before what it corrects, right before it where it
    stood behind. `supersedes` has what each corrects, also through versions that are not among the ids.
    """
    corrections: dict[str, list[str]] = defaultdict(list)
    for newer, older in supersedes.items():
        corrections[older].append(newer)
    places = {one: place for place, one in enumerate(ranked)}
    ordered: list[str] = []
    visited: set[str] = set()
    for one in ranked:
        # Last in, first out, and each a second time when all that corrects it stands.
        waiting = [(one, False)]
        while waiting:
            current, is_free = waiting.pop()
            if is_free:
                if current in places:
                    ordered.append(current)
                continue
            if current in visited:
                continue
            visited.add(current)
            waiting.append((current, True))
            last_first = sorted(corrections[current], key=lambda other: places.get(other, len(places)), reverse=True)
            waiting += [(other, False) for other in last_first]
    return ordered
