"""Figures of systems over several lives: what is kept as JSON, and the tables made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from benchmarks.scale.report import markdown
from benchmarks.simulation.events import Answers, Size
from benchmarks.simulation.judging import CHECKPOINTS, CUES, OPENLY, WINDOW_DAYS, Bin, Judgement, Share, judge
from benchmarks.simulation.world import Life

BOUNDS = ("ideal", "informed", "informed, found", "similarity")
"""Rows that are no memory systems: what can be reached at most, and without a model."""


@dataclass(frozen=True, slots=True)
class Lived:
    """One system in one life: its figures in each stretch of 30 days, in the whole life, and its sizes by day."""

    system: str
    seed: int
    months: Sequence[Judgement]
    whole: Judgement
    sizes: Sequence[Size]
    recall_ms: float
    """Mean of all recalls, as seen by the caller."""
    night_ms: float

    def until(self, day: int) -> Judgement:
        """The stretch that ends on that day."""
        return next(month for month in self.months if month.last_day == day)


def lived(system: str, life: Life, answers: Answers) -> Lived:
    """The figures of what a system answered."""
    days = life.model.days
    ends = sorted({*range(WINDOW_DAYS, days + 1, WINDOW_DAYS), *checkpoints(days)})
    return Lived(
        system,
        life.seed,
        [judge(life, answers, max(end - WINDOW_DAYS, 0), end) for end in ends],
        judge(life, answers, 0, days),
        answers.sizes,
        1000 * answers.recall_seconds / len(answers.hits),
        1000 * answers.maintenance_seconds / days,
    )


def checkpoints(days: int) -> list[int]:
    """The days at which a life of that length is looked at; its last one among them."""
    return [*(day for day in CHECKPOINTS if day < days), days]


def by_system(found: Sequence[Lived]) -> dict[str, list[Lived]]:
    """All lives of each system, in the order the systems came."""
    systems: dict[str, list[Lived]] = {}
    for one in found:
        systems.setdefault(one.system, []).append(one)
    return systems


def precision_at(lives: Sequence[Lived], day: int) -> float:
    """The mean need-precision@5 over lives, of the questions before that day."""
    return fmean(one.until(day).precision for one in lives)


def calibration(lives: Sequence[Lived]) -> float | None:
    """The mean calibration error over lives, None where there is no confidence."""
    errors = [one.whole.calibration_error for one in lives if one.whole.calibration_error is not None]
    return fmean(errors) if errors else None


def first_share(lives: Sequence[Lived], how: Any) -> float | None:
    """The share of all lives' cases in which what replaced a statement stood above it; None without a case."""
    shares: list[Share] = [one.whole.corrections[how] for one in lives]
    cases = sum(share.cases for share in shares)
    return sum(share.cases * share.share for share in shares) / cases if cases else None


def report(found: Sequence[Lived], days: int) -> dict[str, str]:
    """Markdown tables by name: what is recalled, by what is asked, corrections and confidence, size and time."""
    systems, ends = by_system(found), checkpoints(days)
    return {
        "need": markdown(_need(systems, ends)),
        "cues": markdown(_cues(systems)),
        "trust": markdown(_trust(systems)),
        "size": markdown(_sizes(systems, ends)),
    }


def _need(systems: Mapping[str, Sequence[Lived]], ends: Sequence[int]) -> list[list[str]]:
    rows = [["system", *(f"precision@5, day {day}" for day in ends), *(f"MRR, day {day}" for day in ends)]]
    for name, lives in systems.items():
        precisions = [_spread([one.until(day).precision for one in lives]) for day in ends]
        ranks = [f"{fmean(one.until(day).mrr for one in lives):.3f}" for day in ends]
        rows.append([name, *precisions, *ranks])
    return rows


def _cues(systems: Mapping[str, Sequence[Lived]]) -> list[list[str]]:
    named = {"both": "entity and attribute", "attribute": "attribute alone", "entity": "entity alone"}
    rows = [["system", *(f"named: {named[cue]}" for cue in CUES), "all"]]
    for name, lives in systems.items():
        shares = [f"{fmean(one.whole.by_cue[cue] for one in lives):.3f}" for cue in CUES]
        rows.append([name, *shares, f"{fmean(one.whole.precision for one in lives):.3f}"])
    return rows


def _trust(systems: Mapping[str, Sequence[Lived]]) -> list[list[str]]:
    said = {"correct": "corrected", "contradict": "contradicted", "state": "simply stated"}
    rows = [["system", *(f"first: {said[how]}" for how in OPENLY), "calibration error"]]
    for name, lives in systems.items():
        shares = [first_share(lives, how) for how in OPENLY]
        error = calibration(lives)
        rows.append(
            [
                name,
                *("" if share is None else f"{100 * share:.1f} %" for share in shares),
                "" if error is None else f"{error:.3f}",
            ]
        )
    return rows


def _sizes(systems: Mapping[str, Sequence[Lived]], ends: Sequence[int]) -> list[list[str]]:
    rows = [["system", *(f"memories (active), day {day}" for day in ends), "recall, ms", "night, ms"]]
    for name, lives in systems.items():
        sizes = [
            f"{fmean(one.until(day).held for one in lives):,.0f} ({fmean(one.until(day).active for one in lives):,.0f})"
            for day in ends
        ]
        rows.append([name, *sizes, _mean(lives, lambda one: one.recall_ms), _mean(lives, lambda one: one.night_ms)])
    return rows


def _spread(values: Sequence[float]) -> str:
    """The mean, and from where to where single lives go."""
    mean = f"{fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"


def _mean(lives: Sequence[Lived], figure: Callable[[Lived], float]) -> str:
    mean = fmean(map(figure, lives))
    return f"{mean:.1f}" if mean else ""


def plain(found: Sequence[Lived]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


def from_plain(stored: Sequence[Mapping[str, Any]]) -> list[Lived]:
    """What `plain` has made, from JSON."""
    return [
        Lived(
            **{
                **one,
                "months": [_judgement(month) for month in one["months"]],
                "whole": _judgement(one["whole"]),
                "sizes": [Size(**size) for size in one["sizes"]],
            }
        )
        for one in stored
    ]


def _judgement(stored: Mapping[str, Any]) -> Judgement:
    corrections = {how: Share(**share) for how, share in stored["corrections"].items()}
    return Judgement(**{**stored, "corrections": corrections, "bins": [Bin(**one) for one in stored["bins"]]})
