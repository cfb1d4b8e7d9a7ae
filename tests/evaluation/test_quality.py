"""The gate: recall must stay as good as it is, on a small set of our own writing.

The set is small: one question is 1.5 points. A floor lies about three points under what was measured, that of a kind of
question one question under.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from betterdb_agent_memory import MemoryOptions
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.evaluation import EXAMPLE, Evaluation, Quality, evaluate, load_dataset, strategies
from tests.servers import ValkeyServer

MOST_BETWEEN_ENGINES = 0.02
OPEN_WIDE = MemoryOptions(threshold=2.0)


def of(evaluation: Evaluation, strategy: str) -> Quality:
    return next(result.overall for result in evaluation.results if result.strategy == strategy)


@dataclass(frozen=True)
class Floors:
    """What hybrid recall finds at least; the kinds are those with nine questions or more, and R@10 of each."""

    recall_10: float
    mrr: float
    kinds: dict[str, float]


AS_OPENED = Floors(0.825, 0.63, {"context": 0.79, "paraphrase": 0.39, "person named": 0.66, "single fact": 0.9})
RANKING_ALONE = Floors(0.885, 0.65, {"context": 0.9, "paraphrase": 0.59, "person named": 0.66, "single fact": 0.9})
FEWEST_OF_A_KIND = 9


# As it is opened, and the ranking alone: without a ceiling every memory is a hit somewhere.
@pytest.mark.parametrize(
    ("options", "floors"),
    [(None, AS_OPENED), (OPEN_WIDE, RANKING_ALONE)],
    ids=["as opened", "without a threshold"],
)
async def test_recall_finds_what_it_found_on_both_engines(
    options: MemoryOptions | None, floors: Floors, valkey_server: ValkeyServer
) -> None:
    dataset, ways, models = load_dataset(EXAMPLE), strategies("default,vector"), {"wordllama": WordLlamaEmbedder()}
    file = await evaluate(dataset, ways, models, memory=options)
    server = await evaluate(dataset, ways, models, memory=options, url=valkey_server.url)
    for found in (file, server):
        hybrid, vector = of(found, "default"), of(found, "vector")
        assert hybrid.recall[10] >= floors.recall_10
        assert hybrid.mrr >= floors.mrr
        assert hybrid.recall[10] > vector.recall[10]
        assert hybrid.mrr > vector.mrr
        kinds = next(result.categories for result in found.results if result.strategy == "default")
        assert {name for name, kind in kinds.items() if kind.questions >= FEWEST_OF_A_KIND} == set(floors.kinds)
        assert {name for name, least in floors.kinds.items() if kinds[name].recall[10] < least} == set()
    for strategy in ("default", "vector"):
        one, other = of(file, strategy), of(server, strategy)
        assert one.recall[10] == pytest.approx(other.recall[10], abs=MOST_BETWEEN_ENGINES)
        assert one.mrr == pytest.approx(other.mrr, abs=MOST_BETWEEN_ENGINES)
