"""Systems that need no store: the bounds, and what a formula would do. Vectors are numpy arrays in this process.

`Ideal` knows the model, its numbers and the truth, and answers by the odds of need: nobody who sees only what is
said and asked can do better on average. `Ranked` remembers everything in arrays and ranks it by a formula of
`formulas.py`: with similarity alone it is the lower bound, and with any other it says what the formula is worth
before a store computes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.driving import Hit, K, Reference
from benchmarks.simulation.events import Answers, Found, Night, Say, Size
from benchmarks.simulation.formulas import Chain, Formula, Traces, confidence
from benchmarks.simulation.world import Life, Model
from betterdb_agent_memory.embedders import WordLlamaEmbedder

Vectors = NDArray[np.float64]
RELIABILITY = Model().reliability


def ideal(life: Life) -> Answers:
    """The answers of whoever knows all but the dice; never wrong about the truth, and sure of it."""
    said = 0
    sizes = []
    for event in life.events:
        if isinstance(event, Say):
            said += 1
        elif isinstance(event, Night):
            sizes.append(Size(event.day, said, said))
    hits = {ask.id: [Found(statement) for statement in life.ideal[ask.id][:K]] for ask in life.asked()}
    return Answers(hits, sizes, 0.0, 0.0)


class Embedded:
    """Vectors of texts, of length 1; each text is embedded once."""

    def __init__(self) -> None:
        self._model = WordLlamaEmbedder()
        self._vectors: dict[str, Vectors] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Embed those that are not there yet, all at once."""
        missing = sorted(set(texts) - self._vectors.keys())
        if missing:
            made = np.asarray(asyncio.run(self._model.embed_documents(missing)), dtype=np.float64)
            made /= np.linalg.norm(made, axis=1, keepdims=True)
            self._vectors |= dict(zip(missing, made, strict=True))

    def of(self, text: str) -> Vectors:
        if text not in self._vectors:
            self.learn([text])
        return self._vectors[text]


_COLUMNS = ("importance", "created_ms", "last_ms", "count", "working", "core", "strength_ms", "uses", "successes")


class Ranked:
    """A system of arrays that ranks by a formula the candidates nearest to the question.

    What a correction replaces is gone; what is contradicted is doubted. Every memory that is recalled counts as
    used (`reinforce="all"`), or only those of an answer that pleased ("pleased"), or none ("none").
    """

    def __init__(self, embedded: Embedded, formula: Formula, *, reinforce: str = "all", candidates: int = 64) -> None:
        self._embedded = embedded
        self._formula = formula
        self._reinforce = reinforce
        self._candidates = candidates
        self._now_ms = 0.0
        self._columns = {name: np.zeros(0) for name in (*_COLUMNS, "doubted", "reliability", "gone")}
        self._vectors = np.zeros((0, 256))
        self._length = 0
        self._chain = formula if isinstance(formula, Chain) else Chain()

    def advance(self, now_ms: int) -> None:
        self._now_ms = float(now_ms)

    def remember(self, said: Say) -> Reference:
        if self._length == len(self._vectors):
            more = max(256, self._length)
            self._vectors = np.concatenate([self._vectors, np.zeros((more, 256))])
            self._columns = {name: np.concatenate([column, np.zeros(more)]) for name, column in self._columns.items()}
        place = self._length
        self._length += 1
        self._vectors[place] = self._embedded.of(said.text)
        at = {"created_ms": self._now_ms, "last_ms": self._now_ms, "strength_ms": self._now_ms}
        stored = {"importance": said.importance, "working": 1.0, "reliability": RELIABILITY[said.kind], **at}
        for name, value in stored.items():
            self._columns[name][place] = value
        return str(place)

    def replace(self, said: Say, old: Reference) -> Reference:
        self._columns["gone" if said.how == "correct" else "doubted"][int(old)] = 1.0
        return self.remember(said)

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        likeness = self._vectors[: self._length] @ self._embedded.of(" ".join((question, *context)))
        likeness = np.where(self._columns["gone"][: self._length] > 0, -2.0, likeness)
        places = np.argsort(-likeness, kind="stable")[: self._candidates]
        places = places[likeness[places] > -2.0]
        traces = self._traces(places, likeness[places])
        best = np.argsort(-self._formula(traces), kind="stable")[:k]
        sure = confidence(traces)[best]
        if self._reinforce == "all":
            self._used(places[best])
        return [Hit(str(place), float(one)) for place, one in zip(places[best], sure, strict=True)]

    def feedback(self, hits: Sequence[Hit], used: Sequence[Reference], value: float) -> None:
        places = np.array([int(reference) for reference in used])
        self._columns["uses"][places] += 1
        self._columns["successes"][places] += value > 0
        if self._reinforce == "pleased" and value > 0:
            self._used(places)

    def night(self, day: int) -> None:
        """Nothing: what a formula says follows from the time alone."""

    def size(self) -> tuple[int, int]:
        return self._length, self._length - int(self._columns["gone"].sum())

    def _traces(self, places: NDArray[np.int64], likeness: Vectors) -> Traces:
        columns = {name: self._columns[name][places] for name in (*_COLUMNS, "reliability")}
        return Traces(self._now_ms, likeness, doubted=self._columns["doubted"][places] > 0, **columns)

    def _used(self, places: NDArray[np.int64]) -> None:
        working, core = self._chain.used(self._traces(places, np.zeros(len(places))))
        self._columns["working"][places] = working
        self._columns["core"][places] = core
        self._columns["strength_ms"][places] = self._now_ms
        self._columns["last_ms"][places] = self._now_ms
        self._columns["count"][places] += 1
