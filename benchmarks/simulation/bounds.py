"""Systems that need no store: the bounds, and what the models do by themselves. Vectors are numpy arrays here.

`ideal` knows the model, its numbers and the truth, and answers by the odds of need; `informed` knows the same but for
how often each single fact is needed, which it learns from every need there ever was. `Ranked` remembers everything in
arrays and ranks it by a model of this package, with the package's functions for what a recall and an outcome change:
with likeness alone it is the lower bound, and with any other it says what the model is worth without an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.driving import Hit, K, Reference
from benchmarks.simulation.events import Answers, Night, Say, Size
from benchmarks.simulation.events import Found as FoundStatement
from benchmarks.simulation.world import Life
from betterdb_agent_memory.dynamics.outcomes import credit, rewarded
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS, DynamicsParameters
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.memory.kinds import reliability_of_kind, stability_of_kind
from betterdb_agent_memory.memory.recalling.corrections import corrections_first
from betterdb_agent_memory.memory.scoring.base import (
    Candidates,
    FloatArray,
    Need,
    Scored,
    ScoringModel,
    Term,
    elapsed_days,
    summed,
)
from betterdb_agent_memory.memory.scoring.chain import current_traces
from betterdb_agent_memory.memory.scoring.retrievability import Power, grown
from betterdb_agent_memory.memory.standing.confidence import contradicted
from betterdb_agent_memory.memory.standing.figures import Figures
from betterdb_agent_memory.memory.standing.standing import confidences

DIMENSIONS = 256
CANDIDATES: Final = 64
"""How many of the nearest memories a model ranks."""


def ideal(life: Life) -> Answers:
    """The answers of whoever knows all but the dice; never wrong about the truth, and sure of it."""
    return _knowing(life, life.ideal)


def informed(life: Life) -> Answers:
    """The answers of whoever learns from every need how often a fact is needed, and knows all else but the dice."""
    return _knowing(life, life.informed)


def _knowing(life: Life, order: Mapping[str, Sequence[str]]) -> Answers:
    said = 0
    sizes = []
    for event in life.events:
        if isinstance(event, Say):
            said += 1
        elif isinstance(event, Night):
            sizes.append(Size(event.day, said, said))
    hits = {ask.id: [FoundStatement(statement) for statement in order[ask.id][:K]] for ask in life.asked()}
    return Answers(hits, sizes, 0.0, 0.0)


class Embedded:
    """Vectors of texts, of length 1; each text is embedded once."""

    def __init__(self) -> None:
        self._model = WordLlamaEmbedder()
        self._vectors: dict[str, FloatArray] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Embed those that are not there yet, all at once."""
        missing = sorted(set(texts) - self._vectors.keys())
        if missing:
            made = np.asarray(asyncio.run(self._model.embed_documents(missing)), dtype=np.float64)
            made /= np.linalg.norm(made, axis=1, keepdims=True)
            self._vectors |= dict(zip(missing, made, strict=True))

    def of(self, text: str) -> FloatArray:
        if text not in self._vectors:
            self.learn([text])
        return self._vectors[text]


@dataclass(frozen=True, slots=True)
class Likeness:
    """Likeness to the question and nothing else, as a model."""

    name: str = "likeness"
    needs: frozenset[Need] = frozenset()

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        """The relevance."""
        return summed(Term("similarity", candidates.relevance, 1.0))

    def ceiling(self, relevance: float) -> float:
        """The relevance."""
        return relevance


_TIMES = ("created_at_ms", "last_accessed_at_ms")
_COUNTS = ("importance", "access_count", "uses", "successes", "kind_reliability")
_UNKNOWN = ("reliability", "stability_days", "working", "core", "strength_at_ms")
"""What a memory does not have before it was taught something or doubted."""


@dataclass(slots=True)
class _Columns:
    """The numbers of all memories, one array each, which grow together."""

    of: dict[str, FloatArray] = field(
        default_factory=lambda: {name: np.zeros(0) for name in (*_TIMES, *_COUNTS, *_UNKNOWN, "gone")}
    )
    vectors: FloatArray = field(default_factory=lambda: np.zeros((0, DIMENSIONS)))
    kinds: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.kinds)

    def append(self, kind: str, vector: FloatArray, numbers: Mapping[str, float]) -> int:
        place = len(self)
        if place == len(self.vectors):
            more = max(256, place)
            self.vectors = np.concatenate([self.vectors, np.zeros((more, DIMENSIONS))])
            self.of = {name: np.concatenate([column, np.zeros(more)]) for name, column in self.of.items()}
        self.kinds.append(kind)
        self.vectors[place] = vector
        for name in _UNKNOWN:
            self.of[name][place] = np.nan
        for name, number in numbers.items():
            self.of[name][place] = number
        return place

    def figures(self, places: NDArray[np.int64], relevance: FloatArray) -> Figures:
        """The numbers of these memories as a store reads them; a stability and a trust that are not known are those of
        the kind.
        """
        at = {name: column[places] for name, column in self.of.items()}
        kinds = tuple(self.kinds[place] for place in places.tolist())
        trust = np.where(np.isnan(at["reliability"]), 1.0, at["reliability"] / at["kind_reliability"])
        return Figures(
            ids=tuple(str(place) for place in places.tolist()),
            kinds=kinds,
            pinned=np.zeros(len(places), dtype=bool),
            reliability=at["reliability"],
            kind_reliability=at["kind_reliability"],
            uses=at["uses"],
            successes=at["successes"],
            candidates=Candidates(
                relevance=relevance,
                importance=at["importance"],
                created_at_ms=at["created_at_ms"],
                last_accessed_at_ms=at["last_accessed_at_ms"],
                access_count=at["access_count"],
                successes=at["successes"],
                reliability=np.clip(trust, 0.0, 1.0),
                stability_days=at["stability_days"],
                working=at["working"],
                core=at["core"],
                strength_at_ms=at["strength_at_ms"],
            ),
        )


class Ranked:
    """A system of arrays that ranks by a model the `candidates` nearest to the question.

    What a correction replaces is gone; what is contradicted is doubted, and stands below what contradicts it. A recall
    touches its hits, and outcomes teach, as in a store.
    """

    def __init__(
        self,
        embedded: Embedded,
        model: ScoringModel,
        parameters: DynamicsParameters = DEFAULT_PARAMETERS,
        *,
        candidates: int = CANDIDATES,
    ) -> None:
        self._embedded = embedded
        self._model = model
        self._parameters = parameters
        self._candidates = candidates
        self._now_ms = 0
        self._columns = _Columns()
        self._against: dict[str, list[str]] = {}

    def advance(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def remember(self, said: Say) -> Reference:
        now = dict.fromkeys(_TIMES, float(self._now_ms))
        stability = stability_of_kind(said.kind)
        numbers = {
            "importance": said.importance,
            "kind_reliability": reliability_of_kind(said.kind),
            "stability_days": np.nan if stability is None else stability,
            **now,
        }
        return str(self._columns.append(said.kind, self._embedded.of(said.text), numbers))

    def replace(self, said: Say, old: Reference) -> Reference:
        new = self.remember(said)
        columns, place = self._columns.of, int(old)
        if said.how == "correct":
            columns["gone"][place] = 1.0
            return new
        trust = columns["reliability"][place]
        trust = columns["kind_reliability"][place] if np.isnan(trust) else trust
        columns["reliability"][place] = contradicted(trust)
        self._against.setdefault(old, []).append(new)
        return new

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        places, relevance = self._found(" ".join((question, *context)))
        figures = self._columns.figures(places, relevance)
        scores = self._model.score(figures.candidates, self._now_ms).values
        order = corrections_first(np.argsort(-scores, kind="stable").tolist(), figures.ids, self._against)
        best = np.array(order.places[:k], dtype=np.int64)
        sure = confidences(figures, self._now_ms, self._parameters.scoring)
        columns = self._columns.of
        columns["access_count"][places[best]] += 1
        columns["last_accessed_at_ms"][places[best]] = self._now_ms
        return [Hit(figures.ids[place], float(sure[place])) for place in best.tolist()]

    def feedback(self, hits: Sequence[Hit], used: Sequence[Reference], value: float) -> None:
        places = np.array([int(reference) for reference in used], dtype=np.int64)
        figures, ours = self._columns.figures(places, np.zeros(len(places))), self._parameters
        candidates = figures.candidates
        given = credit(
            value,
            ranks=np.arange(len(places), dtype=np.float64),
            elapsed_seconds=0.0,
            uses=figures.uses,
            successes=figures.successes,
            parameters=ours.outcomes,
        )
        traces, days = current_traces(candidates, self._now_ms, ours.chain)
        after = rewarded(traces, candidates.importance, days, given.share, ours.chain)
        columns = self._columns.of
        taught_ms = np.fmax(candidates.created_at_ms, columns["strength_at_ms"][places])
        left = Power().left(elapsed_days(taught_ms, self._now_ms), columns["stability_days"][places])
        columns["stability_days"][places] = grown(
            columns["stability_days"][places], left, ours.stability, share=np.maximum(given.share, 0.0)
        )
        columns["uses"][places] += given.uses
        columns["successes"][places] += given.successes
        columns["working"][places], columns["core"][places] = after.working, after.core
        columns["strength_at_ms"][places] = self._now_ms

    def night(self, day: int) -> None:
        """Nothing: what a model says follows from the time alone."""

    def size(self) -> tuple[int, int]:
        return len(self._columns), len(self._columns) - int(self._columns.of["gone"].sum())

    def _found(self, asked: str) -> tuple[NDArray[np.int64], FloatArray]:
        """The nearest memories and their relevance, as vector retrieval has it."""
        there = np.flatnonzero(self._columns.of["gone"][: len(self._columns)] == 0)
        likeness = self._columns.vectors[there] @ self._embedded.of(asked)
        nearest = np.argsort(-likeness, kind="stable")[: self._candidates]
        return there[nearest], (1 + likeness[nearest]) / 2


class Found(Ranked):
    """`informed` among the candidates: the most that ranking can do with what vector retrieval finds."""

    def __init__(self, embedded: Embedded, life: Life, *, candidates: int = CANDIDATES) -> None:
        super().__init__(embedded, Likeness(), candidates=candidates)
        self._orders = (life.informed[ask.id] for ask in life.asked())
        self._references: dict[str, Reference] = {}

    def remember(self, said: Say) -> Reference:
        reference = super().remember(said)
        self._references[said.id] = reference
        return reference

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        """The best of the candidates; questions come in the order of the life."""
        places, _ = self._found(" ".join((question, *context)))
        found = {str(place) for place in places.tolist()}
        best = (self._references[statement] for statement in next(self._orders))
        return [Hit(reference) for reference in best if reference in found][:k]
