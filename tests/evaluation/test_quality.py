"""The gate: recall must stay as good as it is, on a small set of our own writing.

The set is small: one question is 1.5 points. A floor lies about three points under what was measured.
"""

from __future__ import annotations

import pytest

from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.evaluation import EXAMPLE, Evaluation, Quality, evaluate, load_dataset, strategies
from tests.servers import ValkeyServer

LEAST_RECALL_10 = 0.63
LEAST_MRR = 0.56
MOST_BETWEEN_ENGINES = 0.02


def of(evaluation: Evaluation, strategy: str) -> Quality:
    return next(result.overall for result in evaluation.results if result.strategy == strategy)


async def measured(url: str | None) -> Evaluation:
    ways = strategies("default,hybrid,vector")
    return await evaluate(load_dataset(EXAMPLE), ways, {"wordllama": WordLlamaEmbedder()}, url=url)


async def test_recall_finds_what_it_found_on_both_engines(valkey_server: ValkeyServer) -> None:
    file, server = await measured(None), await measured(valkey_server.url)
    for found in (file, server):
        assert of(found, "default") == of(found, "hybrid"), "AgentMemory.open recalls by words, too"
        assert of(found, "hybrid").recall[10] >= LEAST_RECALL_10
        assert of(found, "hybrid").mrr >= LEAST_MRR
        assert of(found, "hybrid").recall[10] > of(found, "vector").recall[10]
        assert of(found, "hybrid").mrr > of(found, "vector").mrr
    for strategy in ("hybrid", "vector"):
        one, other = of(file, strategy), of(server, strategy)
        assert one.recall[10] == pytest.approx(other.recall[10], abs=MOST_BETWEEN_ENGINES)
        assert one.mrr == pytest.approx(other.mrr, abs=MOST_BETWEEN_ENGINES)
