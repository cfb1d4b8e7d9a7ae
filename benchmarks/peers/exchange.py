"""What `retrieval_quality.py` gives a peer, and what it gets back: files in one folder.

`workload.json` holds the texts, `vectors.npz` the vectors that one model made of them, for everybody the
same: `memories_0` of shape (memories, dimensions), `questions_0`, and so on for each conversation. A peer
writes `rankings.json`. Only numpy is needed here, so that any environment can import it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Ranking = list[list[list[str]]]
"""Ids of memories, best first: for each conversation, for each of its questions."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation as a peer sees it: no sessions, no speakers, since a peer has no place for them.

    `memories` are ids and texts; the vectors are rows in the same order.
    """

    memories: list[tuple[str, str]]
    questions: list[str]
    memory_vectors: Vectors
    question_vectors: Vectors

    @property
    def ids(self) -> list[str]:
        return [id for id, _ in self.memories]

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.memories]

    @property
    def vectors_by_text(self) -> dict[str, list[float]]:
        """For peers that want an embedder: what it is to answer."""
        texts = [*self.texts, *self.questions]
        rows = np.concatenate([self.memory_vectors, self.question_vectors])
        return dict(zip(texts, rows.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Workload:
    """All conversations; `depth` is how many memories each question asks for."""

    talks: list[Talk]
    depth: int

    @property
    def dimensions(self) -> int:
        return int(self.talks[0].memory_vectors.shape[1])


def redis_url(url: str) -> str:
    """The URL of a server for those who know no `valkey://`."""
    return url.replace("valkey://", "redis://", 1)


def write_workload(folder: Path, workload: Workload) -> None:
    texts = [{"memories": talk.memories, "questions": talk.questions} for talk in workload.talks]
    (folder / "workload.json").write_text(json.dumps({"talks": texts, "depth": workload.depth}), encoding="utf-8")
    memories = {f"memories_{place}": talk.memory_vectors for place, talk in enumerate(workload.talks)}
    questions = {f"questions_{place}": talk.question_vectors for place, talk in enumerate(workload.talks)}
    np.savez(folder / "vectors.npz", allow_pickle=False, **memories, **questions)


def read_workload(folder: Path) -> Workload:
    stored = json.loads((folder / "workload.json").read_text(encoding="utf-8"))
    with np.load(folder / "vectors.npz", allow_pickle=False) as vectors:
        talks = [
            Talk(
                [(id, text) for id, text in talk["memories"]],
                talk["questions"],
                vectors[f"memories_{place}"],
                vectors[f"questions_{place}"],
            )
            for place, talk in enumerate(stored["talks"])
        ]
    return Workload(talks, stored["depth"])


def write_rankings(folder: Path, rankings: dict[str, Ranking], packages: Sequence[str]) -> None:
    """`rankings` by the name of a setting; `packages` are those whose versions are told."""
    versions = {package: version(package) for package in packages}
    (folder / "rankings.json").write_text(json.dumps({"rankings": rankings, "versions": versions}), encoding="utf-8")


def read_rankings(folder: Path) -> tuple[dict[str, Ranking], dict[str, str]]:
    stored = json.loads((folder / "rankings.json").read_text(encoding="utf-8"))
    return stored["rankings"], stored["versions"]
