"""mem0 with `infer=False`: each text is one memory, no language model is asked.

Twice: with its default vector store, Qdrant in a local folder, and with its Redis store, whose keyword search
needs no model. (Qdrant's keyword search, and mem0's lemmas and entities, need weights that are not on PyPI;
mem0 goes on without them, as it does here.) One `user_id` a conversation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.peers.exchange import Talk, Workload, read_workload, redis_url, write_rankings


def main(folder: Path, url: str) -> None:
    workload = read_workload(folder)
    stores = {
        "mem0, Qdrant": {"provider": "qdrant", "config": {"path": str(folder / "qdrant"), "on_disk": False}},
        "mem0, Redis": {"provider": "redis", "config": {"redis_url": redis_url(url)}},
    }
    rankings = {
        name: [_ask(talk, workload, folder, store) for talk in workload.talks] for name, store in stores.items()
    }
    write_rankings(folder, rankings, ["mem0ai"])


def _ask(talk: Talk, workload: Workload, folder: Path, store: dict[str, Any]) -> list[list[str]]:
    from langchain.embeddings.base import Embeddings
    from mem0 import Memory

    vectors = talk.vectors_by_text

    class Precomputed(Embeddings):  # type: ignore[misc]
        """The vectors that everybody gets; mem0 strips a query before it asks."""

        def embed_query(self, text: str) -> list[float]:
            return vectors[text]

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vectors[text] for text in texts]

    name = f"quality{uuid4().hex}"
    config = {**store["config"], "collection_name": name, "embedding_model_dims": workload.dimensions}
    if "path" in config:
        config["path"] += name
    memory = Memory.from_config(
        {
            "vector_store": {"provider": store["provider"], "config": config},
            "embedder": {"provider": "langchain", "config": {"model": Precomputed()}},
            "llm": {"provider": "openai", "config": {"api_key": "never asked"}},
            "history_db_path": str(folder / f"{name}.db"),
        }
    )
    own: dict[str, str] = {}
    for id, text in talk.memories:
        for added in memory.add(text, user_id=name, infer=False)["results"]:
            own[added["id"]] = id
    return [
        [own[hit["id"]] for hit in memory.search(question, top_k=workload.depth, filters={"user_id": name})["results"]]
        for question in talk.questions
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
