"""Which cosine distance an embedder should call related: what each ceiling lets in, and what it costs.

    python -m benchmarks.calibrate_threshold DATASET.json
    python -m benchmarks.calibrate_threshold DATASET.json --dimensions 128
    python -m benchmarks.calibrate_threshold DATASET.json --embedder mypackage.module:make_embedder

The dataset's format is described in `benchmarks/conversations.py`. Columns, all per cent:

true      question-evidence pairs within the ceiling (true-accept rate)
false     pairs of a question and any other turn of its conversation within it (false-accept rate)
foreign   pairs of a question and a turn of another conversation within it: unrelated for certain
any       questions that find at least one of another conversation's turns within it
R@10      dense recall@10 in the whole conversation with that ceiling
R@10/n    the same in stores of n memories: the evidence and turns drawn at random. A ceiling costs a
          small store more, since evidence far from its question still is among the nearest ten there

Recommended is the tightest ceiling that costs none of the recalls more than --max-loss points against
no ceiling.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.conversations import BoolArray, Conversation, Distances, FloatArray, distances, load_conversations
from betterdb_agent_memory.embedders import Embedder, WordLlamaEmbedder, as_embedder

K = 10
NO_CEILING = 2.0
DRAWS = 5
SEED = 20240229


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; every rate between 0 and 1."""

    ceiling: float
    true_accepts: float
    false_accepts: float
    foreign_accepts: float
    foreign_any: float
    recalls: tuple[float, ...]
    """Whole conversations first, then one per store size."""


def main() -> None:
    arguments = _arguments()
    conversations = load_conversations(arguments.dataset)
    if len(conversations) < 2:
        raise SystemExit("at least two conversations are needed: unrelated pairs are those across conversations")
    embedder = embedder_named(arguments.embedder, arguments.dimensions)
    measured = asyncio.run(distances(embedder, conversations))
    ceilings = [*np.arange(arguments.start, arguments.stop + arguments.step / 2, arguments.step).round(4), NO_CEILING]
    stores = [_whole(conversations, measured)]
    stores += [_drawn(conversations, measured, size) for size in arguments.store_sizes]
    rows = [_row(ceiling, conversations, measured, stores) for ceiling in ceilings]

    questions = sum(len(one.questions) for one in conversations)
    memories = sum(len(one.memories) for one in conversations)
    print(f"{embedder.name}: {memories} memories, {questions} questions, {len(conversations)} conversations")
    _print_table(rows, arguments.store_sizes)
    _print_recommendation(rows, arguments.max_loss, embedder.default_threshold)


def recall_at_k(ranked: FloatArray, evidence: BoolArray, ceiling: float) -> float:
    """Share of a question's evidence among the nearest `K` within the ceiling, averaged over questions.

    `ranked` holds distances, shape (questions, memories), infinite where the memory is not in the store.
    """
    nearest = np.argsort(ranked, axis=1, kind="stable")[:, :K]
    within = np.take_along_axis(ranked, nearest, axis=1) <= ceiling
    found = (np.take_along_axis(evidence, nearest, axis=1) & within).sum(axis=1)
    return float(np.mean(found / evidence.sum(axis=1)))


Store = list[tuple[FloatArray, BoolArray]]


def _whole(conversations: Sequence[Conversation], measured: Sequence[Distances]) -> Store:
    return [(found.own, one.evidence) for one, found in zip(conversations, measured, strict=True)]


def _drawn(conversations: Sequence[Conversation], measured: Sequence[Distances], size: int) -> Store:
    """Per question a store of its evidence and other turns at random, `DRAWS` times, the same every run."""
    generator = np.random.default_rng(SEED)
    store: Store = []
    for one, found in zip(conversations, measured, strict=True):
        for _ in range(DRAWS):
            order = generator.random(found.own.shape)
            order[one.evidence] = -1
            kept = order.argsort(axis=1).argsort(axis=1) < np.maximum(size, one.evidence.sum(axis=1))[:, np.newaxis]
            store.append((np.where(kept, found.own, np.inf), one.evidence))
    return store


def _row(
    ceiling: float, conversations: Sequence[Conversation], measured: Sequence[Distances], stores: Sequence[Store]
) -> Row:
    pairs = list(zip(conversations, measured, strict=True))
    true = np.concatenate([found.own[one.evidence] for one, found in pairs])
    false = np.concatenate([found.own[~one.evidence] for one, found in pairs])
    foreign = [found.foreign for found in measured if found.foreign.size]
    return Row(
        ceiling=float(ceiling),
        true_accepts=float(np.mean(true <= ceiling)),
        false_accepts=float(np.mean(false <= ceiling)),
        foreign_accepts=float(np.mean(np.concatenate([found.ravel() for found in foreign]) <= ceiling)),
        foreign_any=float(np.mean(np.concatenate([found.min(axis=1) for found in foreign]) <= ceiling)),
        recalls=tuple(_recall(store, ceiling) for store in stores),
    )


def _recall(store: Store, ceiling: float) -> float:
    return float(
        np.average(
            [recall_at_k(ranked, evidence, ceiling) for ranked, evidence in store],
            weights=[len(evidence) for _, evidence in store],
        )
    )


def _print_table(rows: Sequence[Row], store_sizes: Sequence[int]) -> None:
    sizes = "".join(f"{f'R@{K}/{size}':>10}" for size in store_sizes)
    print(f"{'ceiling':>8}{'true':>8}{'false':>8}{'foreign':>9}{'any':>8}{f'R@{K}':>10}{sizes}")
    for row in rows:
        ceiling = "none" if row.ceiling == NO_CEILING else f"{row.ceiling:.2f}"
        recalls = "".join(f"{100 * recall:10.2f}" for recall in row.recalls)
        print(
            f"{ceiling:>8}{100 * row.true_accepts:8.1f}{100 * row.false_accepts:8.1f}"
            f"{100 * row.foreign_accepts:9.1f}{100 * row.foreign_any:8.1f}{recalls}"
        )


def _print_recommendation(rows: Sequence[Row], max_loss: float, stated: float) -> None:
    unlimited = rows[-1].recalls
    for row in rows:
        lost = max(100 * (best - recall) for best, recall in zip(unlimited, row.recalls, strict=True))
        if lost <= max_loss:
            break
    print(
        f"tightest ceiling that costs at most {max_loss} points: {row.ceiling:.2f} "
        f"(accepts {100 * row.true_accepts:.1f} % of true and {100 * row.false_accepts:.1f} % of false pairs); "
        f"the embedder states {stated:.2f}"
    )


def embedder_named(place: str | None, dimensions: int = 256) -> Embedder:
    """What `module:callable` returns as an embedder; the offline one of that length for None."""
    if place is None:
        return WordLlamaEmbedder(dimensions)
    module, _, attribute = place.partition(":")
    return as_embedder(getattr(importlib.import_module(module), attribute)())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="JSON file of conversations with questions and their evidence")
    parser.add_argument("--embedder", help="module:callable that returns an Embedder (default: WordLlamaEmbedder)")
    parser.add_argument("--dimensions", type=int, default=256, help="of WordLlamaEmbedder (default 256)")
    parser.add_argument("--start", type=float, default=0.25, help="tightest ceiling tried (default 0.25)")
    parser.add_argument("--stop", type=float, default=1.0, help="widest ceiling tried (default 1.0)")
    parser.add_argument("--step", type=float, default=0.05, help="between ceilings (default 0.05)")
    parser.add_argument("--max-loss", type=float, default=0.5, help="points of recall a ceiling may cost (default 0.5)")
    parser.add_argument(
        "--store-sizes",
        type=int,
        nargs="*",
        default=[100],
        help="of small stores that must not lose more (default 100)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
