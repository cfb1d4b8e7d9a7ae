"""What a recall asks for, in the form in which candidates are found and weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.engines.base import Tally, Word
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Between, Clause, Filter
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.recalling.cues import Cue
from betterdb_agent_memory.memory.words.dates import Period
from betterdb_agent_memory.options import HybridOptions

UNDERSTOOD = 4_096
"""Characters of a question in which words, dates and persons are looked for: what is longer is a document."""


@dataclass(frozen=True, slots=True)
class Question:
    """The vector, and in hybrid retrieval (`hybrid` is set) the text with its words and the periods it names.

    A question by vector alone has no text; in hybrid retrieval it is then weighed by the vector alone. One of nothing
    but `stop_words` is searched for by them. `cues` are what is being talked about, where the model reads them.
    """

    vector: bytes
    text: str = ""
    words: tuple[Word, ...] = ()
    stop_words: bool = False
    periods: tuple[Period, ...] = ()
    hybrid: HybridOptions | None = None
    cues: tuple[Cue, ...] = ()

    @property
    def understood(self) -> str:
        """The part of the text in which words, dates and persons are looked for: its first 4,096 characters."""
        return self.text[:UNDERSTOOD]

    def tallies(self, filter: Filter) -> tuple[Tally, ...]:
        """What must be known to weigh the words: the size of the scope, then how many of it have each word."""
        return (Tally(filter), *(Tally(filter, word) for word in self.words)) if self.words else ()


@dataclass(frozen=True, slots=True)
class Reach:
    """How far to look: `nearest` memories by vector, `holding` among those that have a rare word of the question.

    `needed` is how many must be found if there are that many; nobody beyond `threshold` is needed in vector
    retrieval. `word_matches` says how many memories the words searched for may have between them, None that
    all words are searched for. `exhaustive` has every vector compared.
    """

    nearest: int
    holding: int
    needed: int
    threshold: float
    word_matches: int | None
    exhaustive: bool = False

    def widened(self, factor: int, most: int) -> Reach:
        """The same, `factor` times as far, at most `most` memories in one search, by all words."""
        return replace(
            self,
            nearest=min(self.nearest * factor, most),
            holding=min(max(self.holding, self.nearest) * factor, most),
            word_matches=None,
        )


def in_periods(filter: Filter, periods: Sequence[Period], *, unindexed: Sequence[str] = ()) -> Filter:
    """`filter`, and that the memory happened, or was written, in one of the periods.

    An index without the time of happening narrows by the time of writing alone.
    """
    times = [name for name in (record.OCCURRED_AT, record.CREATED_AT) if name not in unindexed]
    ranges: list[Clause] = [Between(name, one.start_ms, one.end_ms - 1) for one in periods for name in times]
    clause: Clause = ranges[0] if len(ranges) == 1 else AnyOf(tuple(ranges))
    return Filter((AllOf((*filter.clauses, clause)),)) if filter.clauses else Filter((clause,))
