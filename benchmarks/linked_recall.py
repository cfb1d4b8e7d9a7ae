"""How much of the evidence links add to the hits, by where the links come from and how far activation spreads.

    python -m benchmarks.linked_recall DATASET.json

DATASET holds conversations (`benchmarks.conversations`). Half of the questions of each make links, the other half are
asked: 8 hits by vector with the offline embedder, and 5 memories more,

next hits        the next 5 by vector: what the same number of memories finds without links
one link         what one link leads to, as activation has it
two links        what one or two links lead to
as needed        two links only where one leads to fewer than 5: what `recall(expand=True)` does

Links come from

turns            each turn to the next one (weight 1) and the one after (.5)
recalled         each two of the first five hits of a question that was asked three times, as `link_recalled=True` does
needed           each two turns that answered one question (1), and these with its first three hits (.5)

Figures are the mean share of a question's evidence among the memories, for the pure functions that a worker goes by.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.conversations import Conversation, FloatArray, distances, load_conversations
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.engines.links import MAX_LINKS, LinkEnd
from betterdb_agent_memory.memory.linking import LINKED
from betterdb_agent_memory.memory.recalling.expanding import MOST_ADDED, STARTS, spread

K = 8
ASKED = 3
"""So often was each question asked whose hits were linked by that: fewer times make no link that counts."""

Graph = dict[str, tuple[LinkEnd, ...]]
WAYS = ("hits", "next hits", "one link", "two links", "as needed")


def pairs(source: str, one: Conversation, own: FloatArray, asked: Sequence[int]) -> Iterator[tuple[int, int, float]]:
    """The links that the questions `asked` make, or the turns themselves: both ends, and what the link gains."""
    if source == "turns":
        for apart, weight in ((1, 1.0), (2, 0.5)):
            yield from ((n, n + apart, weight) for n in range(len(one.memories) - apart))
        return
    for question in asked:
        nearest = np.argsort(own[question], kind="stable").tolist()
        if source == "recalled":
            relevance = (1 - own[question] / 2).tolist()
            yield from ((a, b, ASKED * 0.2 * relevance[a] * relevance[b]) for a, b in combinations(nearest[:5], 2))
        else:
            evidence = np.flatnonzero(one.evidence[question]).tolist()
            yield from ((a, b, 1.0) for a, b in combinations(evidence, 2))
            yield from ((a, b, 0.5) for a in evidence for b in nearest[:3] if a != b)


def graph_of(links: Iterable[tuple[int, int, float]]) -> Graph:
    """What each memory is linked to, strongest first, as it is kept and followed."""
    weights: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for a, b, weight in links:
        weights[a][b] += weight
        weights[b][a] += weight
    graph = {}
    for id, others in weights.items():
        ends = [LinkEnd(str(other), weight, 0) for other, weight in others.items() if weight >= LINKED]
        graph[str(id)] = tuple(sorted(ends, key=lambda end: (-end.weight, end.id))[:MAX_LINKS])
    return graph


def found(graph: Graph, to_question: FloatArray) -> dict[str, list[int]]:
    """The memories that each way finds."""
    nearest = np.argsort(to_question, kind="stable").tolist()
    hits = nearest[:K]
    starts = [(str(id), 1 - to_question[id] / 2) for id in hits[:STARTS]]

    def added(far: int) -> list[int]:
        reached = spread(starts, graph, far=1 if far == 1 else 2)
        return [int(id) for id in reached if int(id) not in hits][:MOST_ADDED]

    near, further = added(1), added(2)
    return {
        "hits": hits,
        "next hits": nearest[: K + MOST_ADDED],
        "one link": hits + near,
        "two links": hits + further,
        "as needed": hits + (near if len(near) == MOST_ADDED else further),
    }


async def measured(path: Path) -> dict[str, dict[str, list[float]]]:
    """Of each source of links, and each way, the share of the evidence of each question."""
    conversations = load_conversations(path)
    shares: dict[str, dict[str, list[float]]] = {}
    for one, apart in zip(conversations, await distances(WordLlamaEmbedder(), conversations), strict=True):
        questions = list(range(len(one.questions)))
        random.Random(1).shuffle(questions)
        for source in ("turns", "recalled", "needed"):
            graph = graph_of(pairs(source, one, apart.own, questions[::2]))
            of_source = shares.setdefault(source, {way: [] for way in (*WAYS, "fewer")})
            for question in questions[1::2]:
                evidence = set(np.flatnonzero(one.evidence[question]).tolist())
                ways = found(graph, apart.own[question])
                for way, memories in ways.items():
                    of_source[way].append(len(evidence & set(memories)) / len(evidence))
                of_source["fewer"].append(float(len(ways["one link"]) < K + MOST_ADDED))
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    shares = asyncio.run(measured(parser.parse_args().dataset))
    print(f"{'links from':12}" + "".join(f"{way:>11}" for way in WAYS) + f"{'one is too few':>16}{'questions':>11}")
    for source, of_source in shares.items():
        figures = "".join(f"{np.mean(of_source[way]):11.3f}" for way in WAYS)
        print(f"{source:12}{figures}{np.mean(of_source['fewer']):16.0%}{len(of_source['hits']):11}")


if __name__ == "__main__":
    main()
