"""Which parameters of a model are good: drawn at random, chosen on some lives, reported on others.

    python -m benchmarks.simulation.search activation --draws 60
    python -m benchmarks.simulation.search chain --draws 60

Each draw lives through lives 100 to 102; the best by the mean of need-precision@5 and MRR (days 30 to 365) are then
tried on lives 0 to 2, which chose nothing. `--feedback` is the share of answers that the user reacts to. A draw takes
about ten seconds: the models and what recalls and outcomes change are this package's functions, over arrays.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeAlias

import numpy as np

from benchmarks.simulation.bounds import Embedded, Ranked
from benchmarks.simulation.driving import drive
from benchmarks.simulation.judging import Judgement, judge
from benchmarks.simulation.model import Model
from benchmarks.simulation.world import Life, live
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS, DynamicsParameters
from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.base import ScoringModel
from betterdb_agent_memory.memory.scoring.chain import Chain
from betterdb_agent_memory.memory.scoring.retrievability import Retrievability

TUNING, TEST = range(100, 103), range(3)
FIRST_DAY = 30

Numbers: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tried:
    """A model with parameters, and all parameters that what happens to memories goes by."""

    model: ScoringModel
    parameters: DynamicsParameters


def _activation(numbers: Numbers) -> Tried:
    parameters = replace(DEFAULT_PARAMETERS, activation=replace(DEFAULT_PARAMETERS.activation, **numbers))
    return Tried(Activation(parameters.activation), parameters)


def _chain(numbers: Numbers) -> Tried:
    of_chain = {name: number for name, number in numbers.items() if name not in _WEIGHTS and name != "loss_share"}
    outcomes = {name: number for name, number in numbers.items() if name == "loss_share"}
    parameters = replace(
        DEFAULT_PARAMETERS,
        chain=replace(DEFAULT_PARAMETERS.chain, **of_chain),
        outcomes=replace(DEFAULT_PARAMETERS.outcomes, **outcomes),
    )
    return Tried(_weighed(Chain(parameters.chain), numbers), parameters)


def _retrievability(numbers: Numbers) -> Tried:
    return Tried(_weighed(Retrievability(), numbers), DEFAULT_PARAMETERS)


_WEIGHTS = ("recency", "importance", "doubt_weight")


def _weighed(model: Chain | Retrievability, numbers: Numbers) -> ScoringModel:
    weights = {name: numbers[name] for name in ("recency", "importance") if name in numbers}
    doubt = numbers.get("doubt_weight", model.doubt_weight)
    return replace(model, weights=replace(model.weights, **weights), doubt_weight=doubt)


# From where to where, evenly in the logarithm; a range from 0 is even in the number itself.
RANGES: Mapping[str, tuple[Callable[[Numbers], Tried], Mapping[str, tuple[float, float]]]] = {
    "activation": (
        _activation,
        {
            "similarity_weight": (8, 40),
            "decay": (0.25, 0.8),
            "importance_weight": (0, 4),
            "doubt_weight": (0, 8),
            "recall_share": (0.003, 1),
        },
    ),
    "chain": (
        _chain,
        {
            "recency": (0.03, 1),
            "importance": (0, 0.3),
            "doubt_weight": (0, 0.5),
            "working_decay": (0.05, 0.5),
            "core_decay": (0.001, 0.02),
            "transfer": (0.02, 0.4),
            "recall_share": (0.003, 1),
            "loss_share": (0, 1),
        },
    ),
    "retrievability": (
        _retrievability,
        {"recency": (0.03, 1), "importance": (0, 0.3), "doubt_weight": (0, 0.5)},
    ),
}


def main() -> None:
    arguments = _arguments()
    made, ranges = RANGES[arguments.model]
    model = Model(share_with_feedback=arguments.feedback)
    embedded = Embedded()
    tuning, test = ([live(seed, model) for seed in seeds] for seeds in (TUNING, TEST))
    for life in (*tuning, *test):
        embedded.learn(said.text for said in life.said())
        embedded.learn(" ".join((ask.question, *ask.context)) for ask in life.asked())
    random = np.random.default_rng(arguments.seed)
    drawn: list[Numbers] = [{}]
    drawn += [_drawn(random, ranges) for _ in range(arguments.draws)]
    worth = [(_worth(_figures(tuning, embedded, made(one))), place) for place, one in enumerate(drawn)]
    print("tuned on lives 100 to 102; precision@5 and MRR on lives 0 to 2, days 30 to 365; the first is the default")
    for _, place in [worth[0], *sorted(worth, reverse=True)[: arguments.best]]:
        figures = _figures(test, embedded, made(drawn[place]))
        precision, mrr = fmean(one.precision for one in figures), fmean(one.mrr for one in figures)
        told = ", ".join(f"{name} {number:.3g}" for name, number in drawn[place].items()) or "as it comes"
        print(f"{worth[place][0]:.3f}  {precision:.3f} {mrr:.3f}  {told}", flush=True)


def _figures(lives: Sequence[Life], embedded: Embedded, tried: Tried) -> list[Judgement]:
    return [
        judge(life, drive(Ranked(embedded, tried.model, tried.parameters), life.events), FIRST_DAY, life.model.days)
        for life in lives
    ]


def _worth(figures: Sequence[Judgement]) -> float:
    return fmean((one.precision + one.mrr) / 2 for one in figures)


def _drawn(random: np.random.Generator, ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {
        name: float(random.uniform(low, high) if low == 0 else np.exp(random.uniform(np.log(low), np.log(high))))
        for name, (low, high) in ranges.items()
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(RANGES))
    parser.add_argument("--draws", type=int, default=60, help="how many parameters are tried (default 60)")
    parser.add_argument("--best", type=int, default=5, help="how many of them are reported (default 5)")
    parser.add_argument("--feedback", type=float, default=0.5, help="share of answers reacted to (default 0.5)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    return parser.parse_args()


if __name__ == "__main__":
    main()
