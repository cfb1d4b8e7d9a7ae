"""How well the words of a text answer those of a question: BM25 as a share of the most there is to have.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). Divided by what a
text would get that repeats every word of the question without end, a score lies between 0 and 1 and depends
on no other text, so that it can be added to other signs of relevance and be bounded for texts nobody looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from betterdb_agent_memory.options.recall import HybridOptions

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """What the words of a question found in n texts.

    `scores` (n) are from 0 to 1; `held` (n, words) says which text holds which word. `frequencies` and `size`
    are the statistics as they were used: see `word_scores`.
    """

    scores: Floats
    held: NDArray[np.bool_]
    frequencies: tuple[int, ...]
    size: int


def word_scores(
    texts: Sequence[Sequence[str]], words: Sequence[str], frequencies: Sequence[int], size: int, options: HybridOptions
) -> Matches:
    """Score texts, each as its stems (`Analyzer.stems`), by the distinct stems `words` of a question.

    `frequencies` are how many of the `size` texts of the scope hold each word. A word that none holds counts for
    nothing. Statistics may be a little old: where one of `texts` holds a word that none is said to hold, one does,
    and a scope has at least as many texts as hold its most frequent word.
    """
    counts = _counts(texts, words)
    held = counts > 0
    known = tuple(max(frequency, int(held[:, word].any())) for word, frequency in enumerate(frequencies))
    size = max(size, *known, 0)
    shares = _shares(known, size)
    lengths = np.fromiter(map(len, texts), np.float64, len(texts))
    damping = options.saturation * (
        1 - options.length_normalization + options.length_normalization * lengths / options.typical_words
    )
    saturated = np.divide(counts, counts + damping[:, None], out=np.zeros_like(counts), where=held)
    return Matches(np.minimum(saturated @ shares, 1.0), held, known, size)


def largest_score(possible: ArrayLike, frequencies: Sequence[int], size: int, options: HybridOptions) -> float:
    """The most that a text gets which holds none but the `possible` words (one bool per word of the question).

    `frequencies` and `size` as `Matches` has them. No text reaches it: a word repeated without end would.
    """
    shares = _shares(frequencies, max(size, *frequencies, 0))
    # A text is at least as long as a word is often in it, however often that is.
    longest = 1 + options.saturation * options.length_normalization / options.typical_words
    return min(float(shares @ np.asarray(possible, np.bool_)) / longest, 1.0)


def lend(scores: Floats, groups: ArrayLike, positions: ArrayLike, share: float) -> Floats:
    """The larger of each text's own score and `share` of that of a turn beside it.

    `groups` are integers, one per conversation and below 0 for a text that belongs to none; `positions` are
    those of the turns within it. Beside each other are turns whose positions differ by one.
    """
    group, position = np.asarray(groups, np.int64), np.asarray(positions, np.int64)
    lent = np.array(scores, np.float64)
    turns = np.flatnonzero(group >= 0)
    if turns.size < 2 or share <= 0:
        return lent
    turns = turns[np.lexsort((position[turns], group[turns]))]
    group_steps, position_steps = np.diff(group[turns]), np.diff(position[turns])
    # Several texts may have one position, as the parts of one turn: they form a block, and the best of them lends.
    starts = np.flatnonzero(np.concatenate(([True], (group_steps != 0) | (position_steps != 0))))
    best = np.maximum.reduceat(lent[turns], starts)
    steps = starts[1:] - 1
    adjacent = (group_steps[steps] == 0) & (position_steps[steps] == 1)
    beside = np.zeros_like(best)
    beside[1:] = np.where(adjacent, best[:-1], 0)
    beside[:-1] = np.maximum(beside[:-1], np.where(adjacent, best[1:], 0))
    sizes = np.diff(np.append(starts, turns.size))
    lent[turns] = np.maximum(lent[turns], share * np.repeat(beside, sizes))
    return lent


def _counts(texts: Sequence[Sequence[str]], words: Sequence[str]) -> Floats:
    """How often each word is in each text."""
    counts = np.zeros((len(texts), len(words)))
    columns = {word: column for column, word in enumerate(words)}
    wanted = frozenset(columns)
    for row, text in enumerate(texts):
        for word in wanted.intersection(text):
            counts[row, columns[word]] = text.count(word)
    return counts


def _shares(frequencies: Sequence[int], size: int) -> Floats:
    """What part of the whole each word is worth: rare ones more; all 0 if no text holds any."""
    frequency = np.asarray(frequencies, np.float64)
    rarity = np.where(frequency > 0, np.log1p((size - frequency + 0.5) / (frequency + 0.5)), 0.0)
    total = rarity.sum()
    return rarity / total if total > 0 else rarity
