"""What a system's answers are worth: pure functions over a life and the answers to its questions.

*need-precision@5*  of what was needed, the share among the five hits: needed hits / min(5, needed). Questions that
                    nobody has said a right answer to are left out.
*MRR*               1 / rank of the first needed hit, 0 without one.
*corrections first* of the answers that hold a statement that replaced another, or that other, the share in which
                    the other is absent or stands below what replaced it. By how openly it was said.
*calibration error* ECE: answers' hits that claim something, in ten equal bins of the confidence that the system gave;
                    the mean difference between a bin's confidence and its share of right statements, weighted by hits.
                    0 is perfect; None where a system gives no confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.simulation.driving import K
from benchmarks.simulation.events import DAY_MS, START_MS, Answers, Ask, Cue, Replacing, Say
from benchmarks.simulation.world import Life

BINS = 10
CHECKPOINTS = (30, 180, 365)
WINDOW_DAYS = 30
"""A checkpoint looks at the questions of the days before it, as many as this."""
CUES: tuple[Cue, ...] = ("both", "attribute", "entity")
OPENLY: tuple[Replacing, ...] = ("correct", "contradict", "state")


@dataclass(frozen=True, slots=True)
class Bin:
    """Hits whose confidence is within one tenth: how many, their mean confidence, and the share that is right."""

    hits: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class Share:
    """How many cases there were, and the share of them that went well (0 without cases)."""

    cases: int
    share: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """The figures of one stretch of days, `first_day` < day <= `last_day`."""

    first_day: int
    last_day: int
    precision: float
    mrr: float
    by_cue: Mapping[Cue, float]
    corrections: Mapping[Replacing, Share]
    calibration_error: float | None
    bins: Sequence[Bin]
    held: int
    active: int


def judge(life: Life, answers: Answers, first_day: int, last_day: int) -> Judgement:
    """The figures of the questions of some days.

    Raises:
        ValueError: no question of these days can be judged.
    """
    begin, end = START_MS + first_day * DAY_MS, START_MS + last_day * DAY_MS
    asked = [ask for ask in life.asked() if begin <= ask.at_ms < end]
    judged = [ask for ask in asked if ask.needed]
    if not judged:
        raise ValueError(f"nothing needed was asked for from day {first_day} to day {last_day}")
    found = {ask.id: [hit.statement for hit in answers.hits[ask.id]] for ask in judged}
    precisions = {ask.id: precision(found[ask.id], ask.needed) for ask in judged}
    bins = calibration_bins(_claimed(life, asked, answers))
    size = next(size for size in answers.sizes if size.day == last_day)
    return Judgement(
        first_day,
        last_day,
        _mean(precisions.values()),
        _mean(reciprocal_rank(found[ask.id], ask.needed) for ask in judged),
        {cue: _mean(precisions[ask.id] for ask in judged if ask.cue == cue) for cue in CUES},
        corrections_first(life, asked, answers),
        calibration_error(bins) if bins else None,
        bins,
        size.held,
        size.active,
    )


def precision(found: Sequence[str], needed: Sequence[str]) -> float:
    """Of what was needed, the share among the first five, 1 when five or all are there.

    >>> precision(["a", "b", "c"], ["c"]), precision(["a", "b"], ["a", "x"]), precision([], ["a"])
    (1.0, 0.5, 0.0)
    """
    return len(set(found[:K]) & set(needed)) / min(K, len(needed))


def reciprocal_rank(found: Sequence[str], needed: Sequence[str]) -> float:
    """1 / rank of the first that was needed.

    >>> reciprocal_rank(["a", "b"], ["b"]), reciprocal_rank(["a"], ["b"])
    (0.5, 0.0)
    """
    return next((1 / rank for rank, statement in enumerate(found, 1) if statement in needed), 0.0)


def corrections_first(life: Life, asked: Sequence[Ask], answers: Answers) -> dict[Replacing, Share]:
    """How often what replaced a statement stands above it, by how openly it did.

    A contradiction and what was simply stated count where they were right: a rumour belongs below what is so.
    """
    cases, well = dict.fromkeys(OPENLY, 0), dict.fromkeys(OPENLY, 0)
    replacements = list(_replacements(life))
    for ask in asked:
        rank = {hit.statement: place for place, hit in enumerate(answers.hits[ask.id])}
        for one in replacements:
            if one.at_ms < ask.at_ms and (one.later in rank or one.earlier in rank):
                cases[one.how] += 1
                # A correction may have been corrected itself.
                above = min(rank.get(statement, K) for statement in one.successors)
                well[one.how] += above < rank.get(one.earlier, K)
    return {how: Share(cases[how], well[how] / cases[how] if cases[how] else 0.0) for how in OPENLY}


@dataclass(frozen=True, slots=True)
class _Replacement:
    """`later` took the place of `earlier` then; `successors` are all that were said of it since, `later` first."""

    at_ms: int
    how: Replacing
    earlier: str
    later: str
    successors: Sequence[str]


def _replacements(life: Life) -> Iterator[_Replacement]:
    by_fact: dict[int, list[Say]] = {}
    for said in life.said():
        if said.id in life.claims:
            by_fact.setdefault(life.claims[said.id].fact, []).append(said)
    for statements in by_fact.values():
        for place, (earlier, later) in enumerate(pairwise(statements)):
            if later.how != "correct" and not life.is_right(later.id, later.at_ms):
                continue
            successors = [said.id for said in statements[place + 1 :]]
            yield _Replacement(later.at_ms, later.how, earlier.id, later.id, successors)


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015).

    >>> calibration_error([Bin(3, 0.9, 0.8), Bin(1, 0.5, 0.1)])
    0.175
    """
    hits = sum(one.hits for one in bins)
    return sum(one.hits * abs(one.confidence - one.right) for one in bins) / hits


def calibration_bins(claimed: Iterable[tuple[float, bool]]) -> list[Bin]:
    """Confidences and whether each was right, in ten equal bins; bins without hits are left out.

    >>> calibration_bins([(0.91, True), (0.95, False), (1.0, True), (0.2, False)])
    [Bin(hits=1, confidence=0.2, right=0.0), Bin(hits=3, confidence=0.9533333333333333, right=0.6666666666666666)]
    """
    binned: dict[int, list[tuple[float, bool]]] = {}
    for confidence, is_right in claimed:
        binned.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, is_right))
    return [
        Bin(
            len(hits),
            sum(confidence for confidence, _ in hits) / len(hits),
            sum(right for _, right in hits) / len(hits),
        )
        for _, hits in sorted(binned.items())
    ]


def _claimed(life: Life, asked: Sequence[Ask], answers: Answers) -> Iterator[tuple[float, bool]]:
    for ask in asked:
        for hit in answers.hits[ask.id]:
            is_right = life.is_right(hit.statement, ask.at_ms)
            if hit.confidence is not None and is_right is not None:
                yield hit.confidence, is_right


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
