"""RedisVL on a server: its vector query and its hybrid query, each with its defaults, over a flat index.

Its `HybridQuery` is newer and needs a server with FT.HYBRID; this one runs on any RediSearch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.peers.exchange import Ranking, Talk, Vectors, read_workload, redis_url, write_rankings


def main(folder: Path, url: str) -> None:
    workload = read_workload(folder)
    rankings: dict[str, Ranking] = {"RedisVL, vector": [], "RedisVL, hybrid": []}
    for talk in workload.talks:
        index = _filled(talk, workload.dimensions, url)
        asked = list(zip(talk.questions, talk.question_vectors, strict=True))
        rankings["RedisVL, vector"].append([_by_vector(index, vector, workload.depth) for _, vector in asked])
        rankings["RedisVL, hybrid"].append([_hybrid(index, text, vector, workload.depth) for text, vector in asked])
        index.delete(drop=True)
    write_rankings(folder, rankings, ["redisvl"])


def _filled(talk: Talk, dimensions: int, url: str) -> Any:
    from redisvl.index import SearchIndex

    name = f"quality{uuid4().hex}"
    vector = {"dims": dimensions, "algorithm": "flat", "distance_metric": "cosine", "datatype": "float32"}
    fields = [
        {"name": "memory", "type": "tag"},
        {"name": "text", "type": "text"},
        {"name": "vector", "type": "vector", "attrs": vector},
    ]
    index = SearchIndex.from_dict({"index": {"name": name, "prefix": name}, "fields": fields}, redis_url=redis_url(url))
    index.create(overwrite=True)
    rows = zip(talk.memories, talk.memory_vectors, strict=True)
    index.load([{"memory": id, "text": text, "vector": vector.tobytes()} for (id, text), vector in rows])
    return index


def _by_vector(index: Any, vector: Vectors, depth: int) -> list[str]:
    from redisvl.query import VectorQuery

    query = VectorQuery(vector.tobytes(), "vector", return_fields=["memory"], num_results=depth)
    return [row["memory"] for row in index.query(query)]


def _hybrid(index: Any, text: str, vector: Vectors, depth: int) -> list[str]:
    from redisvl.query import AggregateHybridQuery

    query = AggregateHybridQuery(text, "text", vector.tobytes(), "vector", num_results=depth, return_fields=["memory"])
    return [row["memory"] for row in index.query(query)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
