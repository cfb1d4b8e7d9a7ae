"""The gate: recall must stay as good as it is, on a small set of our own writing.

The set is small: one question is 1.5 points. A floor lies about three points under what was measured.
"""

from __future__ import annotations

import pytest

from betterdb_agent_memory import MemoryOptions
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.evaluation import EXAMPLE, Evaluation, Quality, evaluate, load_dataset, strategies
from tests.servers import ValkeyServer

MOST_BETWEEN_ENGINES = 0.02
OPEN_WIDE = MemoryOptions(threshold=2.0)


def of(evaluation: Evaluation, strategy: str) -> Quality:
    return next(result.overall for result in evaluation.results if result.strategy == strategy)


# As it is opened, and the ranking alone: without a ceiling every memory is a hit somewhere.
@pytest.mark.parametrize(
    ("options", "least_recall_10", "least_mrr"),
    [(None, 0.63, 0.56), (OPEN_WIDE, 0.88, 0.65)],
    ids=["as opened", "without a threshold"],
)
async def test_recall_finds_what_it_found_on_both_engines(
    options: MemoryOptions | None, least_recall_10: float, least_mrr: float, valkey_server: ValkeyServer
) -> None:
    dataset, ways, models = load_dataset(EXAMPLE), strategies("default,vector"), {"wordllama": WordLlamaEmbedder()}
    file = await evaluate(dataset, ways, models, memory=options)
    server = await evaluate(dataset, ways, models, memory=options, url=valkey_server.url)
    for found in (file, server):
        hybrid, vector = of(found, "default"), of(found, "vector")
        assert hybrid.recall[10] >= least_recall_10
        assert hybrid.mrr >= least_mrr
        assert hybrid.recall[10] > vector.recall[10]
        assert hybrid.mrr > vector.mrr
    for strategy in ("default", "vector"):
        one, other = of(file, strategy), of(server, strategy)
        assert one.recall[10] == pytest.approx(other.recall[10], abs=MOST_BETWEEN_ENGINES)
        assert one.mrr == pytest.approx(other.mrr, abs=MOST_BETWEEN_ENGINES)
