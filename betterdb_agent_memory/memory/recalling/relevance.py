"""How relevant candidates are in hybrid retrieval: four signs of each, weighed. Pure.

No sign depends on the other candidates but for what turns lend each other, so a memory scores the same however it was
found, as long as the index counts the words as they are read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.recalling.explaining import Relevance, total_weight
from betterdb_agent_memory.memory.recalling.gathering import Frequencies, Limits
from betterdb_agent_memory.memory.recalling.question import Question
from betterdb_agent_memory.memory.recalling.reading import Text, TextReader
from betterdb_agent_memory.memory.scoring.base import FloatArray
from betterdb_agent_memory.memory.scoring.composite import similarity_from_distance
from betterdb_agent_memory.memory.words.actors import Actors
from betterdb_agent_memory.memory.words.bm25 import Matches, largest_score, lend, word_scores
from betterdb_agent_memory.memory.words.dates import in_periods
from betterdb_agent_memory.options import HybridOptions

_CERTAIN = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """The four signs of n candidates, each an array (n,) of 0 to 1, and their weighted mean, `value`.

    `words` is `own_words` or what the turn beside it lends; `upper` is the mean if turns that are no candidates
    lent as much as they possibly could. `matches` says which words are held.
    """

    similarity: FloatArray
    words: FloatArray
    own_words: FloatArray
    date: FloatArray
    actor: FloatArray
    value: FloatArray
    upper: FloatArray
    matches: Matches
    options: HybridOptions

    def at(self, places: Sequence[int]) -> Signs:
        """The signs of the candidates at these places."""
        return replace(
            self,
            similarity=self.similarity[places],
            words=self.words[places],
            own_words=self.own_words[places],
            date=self.date[places],
            actor=self.actor[places],
            value=self.value[places],
            upper=self.upper[places],
            matches=replace(self.matches, scores=self.matches.scores[places], held=self.matches.held[places]),
        )

    def of(self, place: int, question: Question) -> Relevance:
        """The signs of one candidate."""
        held = self.matches.held[place]
        return Relevance(
            float(self.similarity[place]),
            float(self.words[place]),
            float(self.date[place]),
            float(self.actor[place]),
            self.options,
            tuple(word.text for word, has in zip(question.words, held, strict=True) if has),
            lent=bool(self.words[place] > self.own_words[place]),
        )


def signs_of(
    rows: Sequence[Neighbour],
    question: Question,
    frequencies: Frequencies | None,
    limits: Limits,
    options: HybridOptions,
    reader: TextReader,
) -> Signs:
    """What speaks for each of the candidates."""
    stems = [word.stem for word in question.words]
    known = frequencies or Frequencies(len(rows), (0,) * len(stems))
    texts = [reader.read(row.fields[record.CONTENT], stop_words=question.stop_words) for row in rows]
    matches = word_scores([text.stems for text in texts], stems, known.counts, known.size, options)
    groups, turns = _conversations(rows)
    words = lend(matches.scores, groups, turns, options.neighbour_share)
    similarity = similarity_from_distance(np.array([row.distance for row in rows], dtype=np.float64))
    date = _dates(rows, question)
    actor = _actors(rows, texts, question)
    value = _mean(similarity, words, date, actor, options)
    unseen = options.neighbour_share * largest_unseen_words(matches, question, limits, options)
    # A turn at the edge of what was found may have a neighbour that was not.
    upper = _mean(similarity, np.where(groups >= 0, np.maximum(words, unseen), words), date, actor, options)
    return Signs(similarity, words, matches.scores, date, actor, value, upper, matches, options)


def largest_unseen_words(matches: Matches, question: Question, limits: Limits, options: HybridOptions) -> float:
    """The most that the words of a memory which is no candidate can be worth, by what it has itself."""
    if limits.nearest is None or not question.words:
        return 0.0
    every_holder_seen = limits.holding is None
    possible = [not (every_holder_seen and word.stem in limits.searched) for word in question.words]
    return largest_score(possible, matches.frequencies, matches.size, options)


def largest_unseen(signs: Signs, question: Question, limits: Limits, threshold: float) -> float:
    """The most that a memory which is no candidate can be worth; it may be lent what the best candidate has.

    Minus infinity where there can be none that counts: all were seen, or those left are beyond the threshold
    and have neither a word of the question nor its day.
    """
    if limits.nearest is None:
        return float("-inf")
    options = signs.options
    own = largest_unseen_words(signs.matches, question, limits, options)
    best = max(own, float(np.max(signs.own_words, initial=0.0)))
    words = max(own, options.neighbour_share * best)
    date = _CERTAIN if question.periods and limits.dated is not None else 0.0
    if limits.nearest > threshold and not words and not date:
        return float("-inf")
    return float(_mean(similarity_from_distance(limits.nearest), words, date, _CERTAIN, options))


def _mean(
    similarity: FloatArray | float,
    words: FloatArray | float,
    date: FloatArray | float,
    actor: FloatArray | float,
    options: HybridOptions,
) -> FloatArray:
    weighed = (
        options.similarity_weight * similarity
        + options.words_weight * words
        + options.date_weight * date
        + options.actor_weight * actor
    )
    return np.asarray(weighed / total_weight(options))


def _conversations(rows: Sequence[Neighbour]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The conversation of each turn, numbered, and its place there; -1 for what is no turn."""
    numbers: dict[tuple[bytes | None, ...], int] = {}
    groups = np.full(len(rows), -1, dtype=np.int64)
    turns = np.zeros(len(rows), dtype=np.int64)
    for place, row in enumerate(rows):
        fields = row.fields
        session, turn = fields.get(record.SESSION), fields.get(record.TURN, b"")
        if session is not None and turn.isdigit() and len(turn) < 18:
            names = (session, fields.get(record.THREAD), fields.get(record.AGENT), fields.get(record.NAMESPACE))
            groups[place] = numbers.setdefault(names, len(numbers))
            turns[place] = int(turn)
    return groups, turns


def _dates(rows: Sequence[Neighbour], question: Question) -> FloatArray:
    """1 for what happened, or else was written, in a period that the question names."""
    if not question.periods:
        return np.zeros(len(rows))
    moments = record.moments_ms([row.fields for row in rows])
    return np.asarray(in_periods(moments, question.periods), dtype=np.float64)


def _actors(rows: Sequence[Neighbour], texts: Sequence[Text], question: Question) -> FloatArray:
    """1 for what was said by somebody whom the question names."""
    actors = Actors(question.understood)
    speakers = [row.fields.get(record.SPEAKER) for row in rows]
    names = [
        text.name if speaker is None else speaker.decode(errors="replace")
        for text, speaker in zip(texts, speakers, strict=True)
    ]
    return np.array([actors.named(name) for name in names], dtype=np.float64)
