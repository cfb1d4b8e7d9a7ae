"""Weighted links between records that fade with time: where they are, what their weights mean, and the protocol.

A link has one weight, known to both of its ends. It halves every 30 days, and nothing passes over the links for that:
what is stored is the forward-decayed weight (Cormode, Shkapenyuk, Srivastava & Xu, ICDE 2009) as its logarithm,

    score = log2(weight) + time / half-life        from weights of different times: log2(2^a + 2^b)

so that scores compare as the weights do at any one time. The plain sum `weight * 2^(time / half-life)` overflows a
double after 1,024 half-lives and would have to be rescaled by some worker while others add to it; its logarithm is 692
in the year 2026 and grows by 12 a year, so there is nothing to rescale, and weights are exact to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from betterdb_agent_memory.errors import EngineError

MAX_LINKS = 32
"""Links that a record has at most: the strongest."""

HALF_LIFE_MS = 30 * 86_400_000
"""In which a weight halves. A part of what is stored: every worker of every release has to go by it."""

KEPT_HALVINGS = 7
"""A link whose weight has come down to 2^-7 is there no more."""

_SEPARATOR = " "


def score_of(weight: float, at_ms: int) -> float:
    """What is stored of a weight above 0 that a link has, or gains, at `at_ms`."""
    return math.log2(weight) + at_ms / HALF_LIFE_MS


def weight_of(score: float, now_ms: int) -> float:
    """The weight that a link of this score has at `now_ms`; what no double can hold is infinite.

    >>> round(weight_of(score_of(0.8, 0), HALF_LIFE_MS), 12)
    0.4
    """
    exponent = score - now_ms / HALF_LIFE_MS
    return 2.0**exponent if exponent < 1024 else math.inf


def sum_of_scores(one: float, other: float) -> float:
    """The score of two weights together."""
    larger, smaller = max(one, other), min(one, other)
    return larger + math.log1p(2.0 ** (smaller - larger)) / math.log(2)


def is_gone(score: float, now_ms: int) -> bool:
    """Whether a link of this score is there no more at `now_ms`."""
    return score - now_ms / HALF_LIFE_MS <= -KEPT_HALVINGS


def left_ms(score: float, now_ms: int) -> int:
    """How long a link is there from `now_ms` on; 0 or less where it is gone."""
    return math.floor((score + KEPT_HALVINGS) * HALF_LIFE_MS - now_ms)


class Strength(NamedTuple):
    """What is stored of a link: its score, and when it came to be (ms since the epoch)."""

    score: float
    since_ms: int

    def joined(self, other: Strength) -> Strength:
        """Both together, since the earlier of the two."""
        return Strength(sum_of_scores(self.score, other.score), min(self.since_ms, other.since_ms))

    def encode(self) -> bytes:
        """As a field of a map holds it: 17 digits give a double back exactly."""
        return f"{self.score:.17g}{_SEPARATOR}{self.since_ms}".encode()


def decode_strength(stored: bytes) -> Strength:
    """What `Strength.encode` wrote.

    Raises:
        EngineError: it was something else.
    """
    score, _, since = stored.decode("ascii", "replace").partition(_SEPARATOR)
    try:
        return Strength(float(score), int(since))
    except ValueError:
        raise EngineError(f"{stored[:80]!r} is no link; it is a score and a time with a blank in between") from None


class LinkChange(NamedTuple):
    """A link between two records, with a strength that it gains or has."""

    one: str
    other: str
    strength: Strength


class LinkEnd(NamedTuple):
    """A record that another one is linked to, with the link's weight when it was asked for."""

    id: str
    weight: float
    since_ms: int


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """Where the links of a collection's records are: a map for each record, at `prefix` + id.

    Where many owners share the collection its ids are `{owner}|{id}`, and `is_shared` says so: the links of each owner
    are at `prefix` + owner + ":link:" + id then, wherever its records go from there.
    """

    prefix: str
    is_shared: bool = False

    def place_of(self, id: str) -> tuple[str, str]:
        """What the keys of links begin with among which the record's own are, and its id there.

        >>> LinkKeys("ag:link:").place_of("7"), LinkKeys("{ag:~3}:~", is_shared=True).place_of("acme|7")
        (('ag:link:', '7'), ('{ag:~3}:~acme:link:', '7'))
        """
        if not self.is_shared:
            return self.prefix, id
        owner, _, own = id.partition("|")
        return f"{self.prefix}{owner}:link:", own


@dataclass(frozen=True, slots=True)
class LinkReach:
    """How far to look around records: along links of at least `least_weight`, the `followed` strongest of each.

    Where these lead to fewer than `enough` others, not counting those `beside`, it is looked at the links of all that
    they lead to as well.
    """

    least_weight: float
    followed: int
    enough: int
    beside: tuple[str, ...] = ()

    def further(self, seen: Mapping[str, Sequence[LinkEnd]]) -> list[str]:
        """Behind the links that were `seen` first: what to look at next; nothing where they lead to enough."""
        others = dict.fromkeys(end.id for ends in seen.values() for end in ends[: self.followed] if end.id not in seen)
        return [] if len(others.keys() - set(self.beside)) >= self.enough else list(others)


class Links(Protocol):
    """The links of one owner's records.

    Each verb is one round trip per 500 records that it is about, on a server and where a store's keys share a slot of
    a cluster. Elsewhere on a cluster writing takes up to three, and a link is not written in one step: whoever dies in
    between leaves it known to one of its ends, until it fades.
    """

    async def strengthen(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """Add to the weights of links, which come to be where there are none; false where a record is missing.

        A record that has more than `MAX_LINKS` then loses the weakest, at both of their ends. Nothing that others add
        at the same time is lost. A later change of a batch sees an earlier one.
        """

    async def put(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """The same, but a link has this strength then, whatever it had before."""

    async def remove(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Remove links at both ends; true where there was one."""

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove all links of these records, at their other ends, too."""

    async def neighbours(self, ids: Sequence[str], *, now_ms: int) -> list[tuple[LinkEnd, ...]]:
        """What each record is linked to, strongest first, equal ones by id; also what is deleted by now."""

    async def around(self, ids: Sequence[str], reach: LinkReach, *, now_ms: int) -> Mapping[str, tuple[LinkEnd, ...]]:
        """What these records are linked to, strongest first, and where that is too little what those are linked to in
        turn; by id.
        """


def ends_in(stored: Mapping[str, bytes], now_ms: int, *, least_weight: float = 0.0) -> tuple[LinkEnd, ...]:
    """The links in the map of a record that are there at `now_ms`, strongest first, equal ones by id.

    Raises:
        EngineError: there is something else in it.
    """
    ends = []
    for id, text in stored.items():
        strength = decode_strength(text)
        weight = weight_of(strength.score, now_ms)
        if not is_gone(strength.score, now_ms) and weight >= least_weight:
            ends.append(LinkEnd(id, weight, strength.since_ms))
    return tuple(sorted(ends, key=lambda end: (-end.weight, end.id)))
