"""How much recency and importance may weigh before they outvote relevance.

    python -m benchmarks.tie_breaker_weights DATASET.json

Dense recall ranked by the composite score, on questions asked after the last turn whose evidence may be
months old: the case in which recency does harm. What is looked for is the largest weight that costs at
most --max-loss points of recall@10 against similarity alone; such a weight still orders what is equally
relevant. The dataset's format is described in `benchmarks/conversations.py`.

First table: recency at several half-lives, importance 0.5 everywhere. Second: importance that knows
nothing of the questions (drawn at random between 0 and 1, the mean of 10 draws, the same every run), no
recency. Third: both together. The similarity weight is 1 minus the others.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.conversations import Conversation, Distances, FloatArray, distances, load_conversations
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.memory.scoring.composite import composite_score, similarity_from_distance
from betterdb_agent_memory.options import CONTRACT_WEIGHTS, RecallWeights

K = 10
CANDIDATES = max(4 * K, 32)
DAY_SECONDS = 86_400.0
WEIGHTS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25)
DRAWS = 10
SEED = 20240229


@dataclass(frozen=True, slots=True)
class Quality:
    """Per cent, averaged over questions; `mrr` counts the first evidence among all candidates."""

    recall_5: float
    recall_10: float
    mrr: float


def main() -> None:
    arguments = _arguments()
    conversations = load_conversations(arguments.dataset)
    measured = asyncio.run(distances(WordLlamaEmbedder(), conversations))
    same = [[np.full(len(one.memories), 0.5) for one in conversations]]
    generator = np.random.default_rng(SEED)
    random = [[generator.random(len(one.memories)) for one in conversations] for _ in range(DRAWS)]

    def quality(recency: float, importance: float, days: float, draws: Sequence[Sequence[FloatArray]]) -> Quality:
        weights = RecallWeights(similarity=1 - recency - importance, recency=recency, importance=importance)
        return _mean([measure(conversations, measured, values, weights, days * DAY_SECONDS) for values in draws])

    pure = quality(0, 0, 7, same)
    contract = measure(conversations, measured, same[0], CONTRACT_WEIGHTS, 7 * DAY_SECONDS)
    _print("similarity alone", pure, pure)
    _print("contract .6/.25/.15, 7 days", contract, pure)

    for days in arguments.half_lives:
        print(f"\nrecency weight, half-life {days:g} days")
        _print_table({weight: quality(weight, 0, days, same) for weight in WEIGHTS}, pure, arguments.max_loss)
    print("\nimportance weight, importance at random")
    _print_table({weight: quality(0, weight, 7, random) for weight in WEIGHTS}, pure, arguments.max_loss)

    print("\nboth, importance at random")
    for days in arguments.half_lives:
        for recency, importance in ((0.01, 0.01), (0.015, 0.015), (0.02, 0.01), (0.02, 0.02), (0.03, 0.02)):
            _print(f"{recency:g} + {importance:g}, {days:g} days", quality(recency, importance, days, random), pure)


def measure(
    conversations: Sequence[Conversation],
    measured: Sequence[Distances],
    importance: Sequence[FloatArray],
    weights: RecallWeights,
    half_life_seconds: float,
) -> Quality:
    """Rank the nearest `CANDIDATES` of every question by the composite score and look where its evidence is."""
    recall_5, recall_10, reciprocal = [], [], []
    for one, found, values in zip(conversations, measured, importance, strict=True):
        for row, evidence in zip(found.own, one.evidence, strict=True):
            nearest = np.argsort(row, kind="stable")[:CANDIDATES]
            score = composite_score(
                similarity=similarity_from_distance(row[nearest]),
                age_seconds=one.ages_seconds[nearest],
                importance=values[nearest],
                weights=weights,
                half_life_seconds=half_life_seconds,
            )
            hits = evidence[nearest[np.argsort(-score, kind="stable")]]
            recall_5.append(hits[:5].sum() / evidence.sum())
            recall_10.append(hits[:10].sum() / evidence.sum())
            reciprocal.append(1 / (hits.argmax() + 1) if hits.any() else 0.0)
    return Quality(*(100 * float(np.mean(values)) for values in (recall_5, recall_10, reciprocal)))


def _mean(draws: Sequence[Quality]) -> Quality:
    return Quality(
        recall_5=float(np.mean([one.recall_5 for one in draws])),
        recall_10=float(np.mean([one.recall_10 for one in draws])),
        mrr=float(np.mean([one.mrr for one in draws])),
    )


def _print_table(rows: dict[float, Quality], pure: Quality, max_loss: float) -> None:
    for weight, quality in rows.items():
        _print(f"{weight:g}", quality, pure)
    cheap = 0.0
    for weight, quality in rows.items():
        if pure.recall_10 - quality.recall_10 > max_loss:
            break
        cheap = weight
    print(f"largest weight up to which every step costs at most {max_loss:g} points: {cheap:g}")


def _print(label: str, quality: Quality, pure: Quality) -> None:
    print(
        f"{label:>28}  R@5 {quality.recall_5:5.2f}  R@10 {quality.recall_10:5.2f} "
        f"({quality.recall_10 - pure.recall_10:+6.2f})  MRR {quality.mrr / 100:.4f}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="JSON file of conversations with questions and their evidence")
    parser.add_argument("--half-lives", type=float, nargs="+", default=[7, 30, 90], help="in days (default 7 30 90)")
    parser.add_argument("--max-loss", type=float, default=0.5, help="points of R@10 a weight may cost (default 0.5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
