"""Which words of a question to search for: the rare ones, which tell one text from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from betterdb_agent_memory.engines.base import Word


class Rarest(NamedTuple):
    """The words to search for, rarest first, and the others that occur at all."""

    searched: tuple[Word, ...]
    others: tuple[Word, ...]


def rarest(words: Sequence[Word], frequencies: Sequence[int], limit: int) -> Rarest:
    """The rarest of `words` that at most `limit` texts hold between them, but at least one.

    `frequencies` are how many texts hold each word; one that none holds is in neither part. Among equally
    frequent words the earlier comes first.
    """
    occurring = sorted((frequency, place) for place, frequency in enumerate(frequencies) if frequency > 0)
    total = 0
    searched = 0
    for frequency, _ in occurring:
        total += frequency
        if searched and total > limit:
            break
        searched += 1
    ordered = tuple(words[place] for _, place in occurring)
    return Rarest(ordered[:searched], ordered[searched:])
