"""A memory that was recalled, and why it ranked where it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.figures import figures_of_items
from betterdb_agent_memory.memory.recalling.expanding import LinkedBy
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.scoring.base import Term
from betterdb_agent_memory.memory.scoring.choice import ScoringParameters
from betterdb_agent_memory.memory.scoring.composite import recency_decay, similarity_from_distance
from betterdb_agent_memory.memory.standing.standing import Standing, standings
from betterdb_agent_memory.options import HybridOptions, RecallWeights


@dataclass(frozen=True, slots=True)
class Component:
    """One term of a score: `value` times `weight`."""

    name: str
    value: float
    weight: float

    @property
    def contribution(self) -> float:
        """What the term adds to the score; nothing without a weight, whatever the value."""
        return self.value * self.weight if self.weight else 0.0


def components_of(terms: Sequence[Term], places: Sequence[int]) -> list[tuple[Component, ...]]:
    """The terms of the scores of the candidates at these places."""
    columns = [(term.name, term.values.tolist(), term.weight) for term in terms]
    return [tuple(Component(name, values[place], weight) for name, values, weight in columns) for place in places]


@dataclass(frozen=True, slots=True)
class Relevance:
    """What makes a memory relevant in hybrid retrieval: four signs from 0 to 1, and their weighted mean.

    `similarity` is 1 - distance / 2; `words` the share of the question's words that the memory has, or was
    `lent` by the turn beside it; `date` and `actor` are 1 where the question names the memory's day or person.
    `matched` are the words of the question that the memory itself has.
    """

    similarity: float
    words: float
    date: float
    actor: float
    weights: HybridOptions
    matched: tuple[str, ...] = ()
    lent: bool = False

    @property
    def components(self) -> tuple[Component, ...]:
        """The signs with their shares of the mean."""
        weights, total = self.weights, total_weight(self.weights)
        return (
            Component("similarity", self.similarity, weights.similarity_weight / total),
            Component("words", self.words, weights.words_weight / total),
            Component("date", self.date, weights.date_weight / total),
            Component("actor", self.actor, weights.actor_weight / total),
        )

    @property
    def value(self) -> float:
        """The weighted mean of the signs, 0 to 1."""
        return sum(component.contribution for component in self.components)


def total_weight(weights: HybridOptions) -> float:
    """What the weights of the four signs sum up to."""
    return weights.similarity_weight + weights.words_weight + weights.date_weight + weights.actor_weight


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit ranked where it did.

    `distance` is the cosine distance to the query (0 to 2), `threshold` the largest that counted,
    `age_seconds` the age that recency was computed from: since creation or last access, whichever is
    later. `importance` is the memory's. `relevance` says what hybrid retrieval made of the memory, None in
    vector retrieval. `exact` tells whether no memory beside those looked at could have been among the hits, given
    importances from 0 to 1 and clocks that agree. `rerank_score` is the reranker's, by which the hits are ordered
    where there is one. `scoring` is the model that scored, and `terms` what it made its score of, none for the
    composite: `weights` and `half_life_seconds` are the composite's alone. `link` says by which link a
    memory was added to the hits that the question had found: its score is below theirs then, whatever the terms come
    to. `outranks` are the hits that it was put before whatever their scores, since it corrects them.
    """

    distance: float
    threshold: float
    age_seconds: float
    importance: float
    half_life_seconds: float
    weights: RecallWeights
    relevance: Relevance | None = None
    exact: bool = False
    rerank_score: float | None = None
    scoring: str = "composite"
    terms: tuple[Component, ...] = ()
    link: LinkedBy | None = None
    outranks: tuple[str, ...] = ()

    @property
    def components(self) -> tuple[Component, ...]:
        """The terms of the score: similarity, in hybrid retrieval words, date and actor, then recency, importance; of
        another model than the composite its own, of which `similarity` is split up in the same way.
        """
        if self.terms:
            return tuple(
                component
                for term in self.terms
                for component in (self._relevant(term.weight) if term.name == "similarity" else (term,))
            )
        recency = float(recency_decay(self.age_seconds, self.half_life_seconds))
        return (
            *self._relevant(self.weights.similarity),
            Component("recency", recency, self.weights.recency),
            Component("importance", self.importance, self.weights.importance),
        )

    def _relevant(self, weight: float) -> tuple[Component, ...]:
        """What relevance of this weight is made of."""
        if self.relevance is None:
            return (Component("similarity", similarity_from_distance(self.distance), weight),)
        return tuple(Component(one.name, one.value, one.weight * weight) for one in self.relevance.components)

    @property
    def score(self) -> float:
        """The sum of the contributions."""
        return sum(component.contribution for component in self.components)


class _Recalled:
    """The memories of one recall, and how they stand once somebody has asked: no part of what a hit says of itself, so
    that `asdict` of one hit does not tell the others.
    """

    __slots__ = ("items", "known")
    items: list[MemoryItem]
    known: dict[str, Standing]


@dataclass(frozen=True, slots=True)
class Vantage(_Recalled):
    """From where it is seen how the memories of one recall stand: its time, in ms, and the parameters of its store.

    Nothing is computed before somebody asks, and then of all hits at once: of eight it takes as long as of one.
    """

    now_ms: int
    parameters: ScoringParameters

    def hit(self, item: MemoryItem, distance: float, score: float, explain: Explanation | None) -> MemoryHit:
        """A hit that is seen from here."""
        self._all_items().append(item)
        return MemoryHit(item, distance, score, explain, self)

    def standing(self, item: MemoryItem) -> Standing:
        """How one of the memories stands."""
        known: dict[str, Standing] = getattr(self, "known", {})
        if item.id not in known:
            figures = figures_of_items([*self._all_items(), item])
            known = {one.id: one for one in standings(figures, self.now_ms, self.parameters)}
            object.__setattr__(self, "known", known)
        return known[item.id]

    def _all_items(self) -> list[MemoryItem]:
        """Empty at first, and in a copy."""
        if not hasattr(self, "items"):
            object.__setattr__(self, "items", [])
        return self.items


@dataclass(frozen=True, slots=True)
class MemoryHit:
    """A memory that was recalled.

    `score` is what it was ranked by, higher is better. `similarity` is the published name
    of the cosine *distance*, lower is closer; `distance` is the same under its right name. `vantage` is from where its
    `standing` is seen; it makes no difference between hits, and one that no recall has given has none.
    """

    item: MemoryItem
    similarity: float
    score: float
    explain: Explanation | None = None
    vantage: Vantage | None = field(default=None, compare=False, repr=False)

    @property
    def distance(self) -> float:
        """Cosine distance to the query, 0 to 2."""
        return self.similarity

    @property
    def standing(self) -> Standing:
        """How the memory stands: its age, strength, layer, retrievability, activation, confidence and its label.

        By the parameters of the store, at the time of the recall, and before the recall itself counted as a use.
        Computed for all hits of a recall when the first is asked for it, in less than a millisecond. No round trip.

        Raises:
            InvalidInputError: the hit was made by hand, so that no time is known.
        """
        if self.vantage is None:
            raise InvalidInputError(
                f"hit {self.item.id!r:.80} was not given by a recall, so there is no time at which it stands: ask "
                "agent.dynamics.standing([hit])"
            )
        return self.vantage.standing(self.item)

    @property
    def relevance(self) -> float:
        """How well it answers the query, 0 to 1, whatever else the score weighs: in hybrid retrieval the mean of its
        signs, else 1 - distance / 2.
        """
        signs = None if self.explain is None else self.explain.relevance
        return float(similarity_from_distance(self.distance)) if signs is None else signs.value
