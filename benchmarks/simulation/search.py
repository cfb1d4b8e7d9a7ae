"""Which parameters of a formula are good: drawn at random, chosen on some lives, reported on others.

    python -m benchmarks.simulation.search activation --draws 60
    python -m benchmarks.simulation.search chain --draws 60

Each draw lives through lives 100 to 102; the best by the mean of need-precision@5 and MRR (days 30 to 365) are then
tried on lives 0 to 2, which chose nothing. `--feedback` is the share of answers that the user reacts to. A draw takes
about six seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from benchmarks.simulation.bounds import Embedded, Ranked
from benchmarks.simulation.driving import drive
from benchmarks.simulation.formulas import Activation, Chain, Formula
from benchmarks.simulation.judging import Judgement, judge
from benchmarks.simulation.model import Model
from benchmarks.simulation.world import Life, live

TUNING, TEST = range(100, 103), range(3)
FIRST_DAY = 30

# From where to where, evenly in the logarithm; a range from 0 is even in the number itself.
RANGES: Mapping[str, tuple[Formula, Mapping[str, tuple[float, float]]]] = {
    "activation": (
        Activation(),
        {
            "similarity": (8, 40),
            "decay": (0.25, 0.8),
            "importance": (0, 4),
            "doubt": (0, 6),
            "recall_share": (0.003, 1),
        },
    ),
    "chain": (
        Chain(),
        {
            "strength": (0.03, 1),
            "importance": (0, 0.3),
            "doubt": (0, 0.5),
            "working_decay": (0.02, 0.5),
            "core_decay": (0.001, 0.02),
            "transfer": (0.02, 0.4),
            "recall_share": (0.003, 1),
        },
    ),
}


def main() -> None:
    arguments = _arguments()
    formula, ranges = RANGES[arguments.formula]
    model = Model(share_with_feedback=arguments.feedback)
    embedded = Embedded()
    tuning, test = ([live(seed, model) for seed in seeds] for seeds in (TUNING, TEST))
    for life in (*tuning, *test):
        embedded.learn(said.text for said in life.said())
        embedded.learn(" ".join((ask.question, *ask.context)) for ask in life.asked())
    random = np.random.default_rng(arguments.seed)
    drawn: list[Formula] = [formula]
    drawn += [replace(formula, **_drawn(random, ranges)) for _ in range(arguments.draws)]  # type: ignore[type-var]
    worth = [(_worth(_figures(tuning, embedded, one)), place) for place, one in enumerate(drawn)]
    print("tuned on lives 100 to 102; precision@5 and MRR on lives 0 to 2, days 30 to 365; the first is the default")
    for _, place in [worth[0], *sorted(worth, reverse=True)[: arguments.best]]:
        figures = _figures(test, embedded, drawn[place])
        precision, mrr = fmean(one.precision for one in figures), fmean(one.mrr for one in figures)
        print(f"{worth[place][0]:.3f}  {precision:.3f} {mrr:.3f}  {_told(drawn[place], ranges)}", flush=True)


def _figures(lives: Sequence[Life], embedded: Embedded, formula: Formula) -> list[Judgement]:
    return [judge(life, drive(Ranked(embedded, formula), life.events), FIRST_DAY, life.model.days) for life in lives]


def _worth(figures: Sequence[Judgement]) -> float:
    return fmean((one.precision + one.mrr) / 2 for one in figures)


def _drawn(random: np.random.Generator, ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {
        name: float(random.uniform(low, high) if low == 0 else np.exp(random.uniform(np.log(low), np.log(high))))
        for name, (low, high) in ranges.items()
    }


def _told(formula: Formula, names: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {getattr(formula, name):.3g}" for name in names)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formula", choices=list(RANGES))
    parser.add_argument("--draws", type=int, default=60, help="how many parameters are tried (default 60)")
    parser.add_argument("--best", type=int, default=5, help="how many of them are reported (default 5)")
    parser.add_argument("--feedback", type=float, default=0.5, help="share of answers reacted to (default 0.5)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    return parser.parse_args()


if __name__ == "__main__":
    main()
