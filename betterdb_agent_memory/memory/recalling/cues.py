"""What is being talked about while a question is asked: cues, the memories that have them, and how many do. Pure.

In ACT-R each element of the context spreads activation to the memories it is associated with, the less to each, the
more of them there are (Anderson 2007, ch. 3). Here a cue is a word or a name. A memory has it if its text has the words
of the cue side by side, in any form that hybrid retrieval takes for the same, or if one of its entities or tags is the
cue, letter by letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from betterdb_agent_memory.engines.base import Tally, Word
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, AnyOf, Clause, Fields, Filter, HasTag
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.recalling.reading import TextReader
from betterdb_agent_memory.memory.record import CONTENT, ENTITIES, TAGS, checked_entity, has_control_character
from betterdb_agent_memory.memory.scoring.base import BoolArray, FloatArray
from betterdb_agent_memory.memory.spelling import listed_name
from betterdb_agent_memory.memory.words.analysis import Analyzer

MAX_CUES: Final = 16
"""Cues of one question: each takes up to nine counts, which are kept for a minute."""

CUED: Final = 64
"""Memories that cues bring beside the nearest; a cue that more have brings none, and says next to nothing."""

_WORDS_COUNTED: Final = 4
_SEPARATOR: Final = TAG_SEPARATOR.encode()


@dataclass(frozen=True, slots=True)
class Cue:
    """A word or a name that is talked about: `name` as it was given, its words as `stems` in their order, none where
    it consists of words that every text has, and of these the first four different ones to be counted (`words`).
    """

    name: str
    stems: tuple[str, ...]
    words: tuple[Word, ...]

    def named(self, unindexed: Sequence[str] = ()) -> Clause | None:
        """That one of the entities or tags is the cue, as far as the index has them; None where it has neither."""
        clauses: list[Clause] = [] if ENTITIES in unindexed else [HasTag(ENTITIES, listed_name(self.name))]
        if TAG_SEPARATOR not in self.name:
            clauses.append(HasTag(TAGS, self.name))
        return AnyOf(tuple(clauses)) if clauses else None

    def tallies(self, filter: Filter, unindexed: Sequence[str] = ()) -> tuple[Tally, ...]:
        """What has to be counted to know its fan in the scope of `filter`."""
        clause = self.named(unindexed)
        counted = [Tally(filter, word) for word in self.words]
        if clause is None:
            return tuple(counted)
        named = Filter((*filter.clauses, clause))
        return (*counted, *(Tally(named, word) for word in self.words), Tally(named))

    def fan(self, counts: Sequence[int]) -> int:
        """How many memories have it, by the counts of its `tallies`.

        Exact for a name and for a single word. Of several words it is at most as many as have the rarest of them, since
        an index counts no phrases.
        """
        size = len(self.words)
        if len(counts) <= size:
            return min(counts, default=0)
        named = counts[-1]
        either = [having + named - both for having, both in zip(counts[:size], counts[size:-1], strict=True)]
        return max(min(either, default=named), 0)


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """The cues of a question among its candidates: `held`, a row a candidate and a column a cue, and how many memories
    of the scope have each (`fans`).
    """

    held: BoolArray
    fans: FloatArray

    def at(self, places: Sequence[int]) -> Context:
        """Of the candidates at these places alone."""
        return Context(self.held[places], self.fans)


def checked_context(context: object) -> tuple[str, ...]:
    """Cues as they were given, each once; none for None.

    Raises:
        InvalidInputError: it is no list of texts, there are more than 16, or one is empty, has control characters or
            more than 512 bytes.
    """
    if context is None:
        return ()
    if isinstance(context, str | bytes) or not isinstance(context, Sequence):
        raise InvalidInputError(
            f"context must be a list of words and names, got {type(context).__name__}: {context!r:.80}"
        )
    cues = tuple(dict.fromkeys(_checked_cue(cue) for cue in context))
    if len(cues) > MAX_CUES:
        raise InvalidInputError(
            f"context has at most {MAX_CUES} cues, got {len(cues)}; pass what is talked about now, or what matters most"
        )
    return cues


def cues_of(context: Sequence[str], analyzer: Analyzer) -> tuple[Cue, ...]:
    """The cues, with their words in the language of the store."""
    return tuple(_cue(name, analyzer) for name in context)


def holding(records: Sequence[Fields], cues: Sequence[Cue], reader: TextReader) -> BoolArray:
    """Which of the records (rows) have which of the cues (columns)."""
    stored = [(cue.stems, listed_name(cue.name).encode(), cue.name.encode()) for cue in cues]
    held = np.zeros((len(records), len(cues)), dtype=np.bool_)
    for row, fields in zip(held, records, strict=True):
        stems = reader.read(fields.get(CONTENT, b""), stop_words=False).stems
        different = frozenset(stems)
        entities, tags = (fields.get(name, b"").split(_SEPARATOR) for name in (ENTITIES, TAGS))
        row[:] = [
            entity in entities or tag in tags or (different.issuperset(words) and _side_by_side(words, stems))
            for words, entity, tag in stored
        ]
    return held


def context_of(
    records: Sequence[Fields], cues: Sequence[Cue], fans: Sequence[int] | None, reader: TextReader
) -> Context:
    """The context of these candidates; `fans` as they were counted, None where the candidates are the whole scope.

    What was counted up to a minute ago is never taken for less than what is seen.
    """
    held = holding(records, cues, reader)
    seen = held.sum(axis=0, dtype=np.float64)
    return Context(held, seen if fans is None else np.maximum(seen, np.array(fans, dtype=np.float64)))


def _cue(name: str, analyzer: Analyzer) -> Cue:
    stems = tuple(analyzer.stems(name))
    return Cue(name, stems, analyzer.query(name)[:_WORDS_COUNTED] if stems else ())


def _checked_cue(cue: object) -> str:
    try:
        name = checked_entity(cue)
    except InvalidInputError as error:
        raise InvalidInputError(f"context is a list of words and names: {error}") from None
    if has_control_character(name):
        raise InvalidInputError(f"cue {name!r:.80} of the context contains a control character")
    return name


def _side_by_side(words: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether `stems`, which have all of the words, have them next to each other; none are nowhere."""
    if len(words) < 2:
        return bool(words)
    size, first = len(words), words[0]
    return any(stem == first and tuple(stems[place : place + size]) == tuple(words) for place, stem in enumerate(stems))
