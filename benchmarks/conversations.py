"""Conversations with questions whose evidence is known, and their distances under an embedder.

The file is one JSON object (times are Unix seconds, `gold` names the turns that answer)::

    {"conversations": [{"id", "asked_at",
                        "memories":  [{"id", "text", "timestamp", ...}],
                        "questions": [{"id", "text", "gold": [memory id, ...], ...}]}]}

LoCoMo (Maharana et al., 2024) converts to it turn by turn; the data set is not part of this project.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders import Embedder
from betterdb_agent_memory.embedders.base import VectorLike

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns as memories, and questions asked after the last of them."""

    id: str
    memories: tuple[str, ...]
    questions: tuple[str, ...]
    evidence: BoolArray
    """Shape (questions, memories): whether the memory answers the question."""
    ages_seconds: FloatArray
    """Shape (memories,): how old each is when the questions are asked."""


@dataclass(frozen=True, slots=True)
class Distances:
    """Cosine distances (0 to 2) from the questions of a conversation."""

    own: FloatArray
    """Shape (questions, memories): to the memories of the same conversation."""
    foreign: FloatArray
    """Shape (questions, memories of all other conversations)."""


def load_conversations(path: Path) -> list[Conversation]:
    """Read the file; questions without evidence among the memories are left out."""
    loaded = json.loads(path.read_text(encoding="utf-8"))
    return [_conversation(one) for one in loaded["conversations"]]


async def distances(embedder: Embedder, conversations: Sequence[Conversation]) -> list[Distances]:
    """Embed everything once; one `Distances` per conversation, in order."""
    memories = [_unit(await embedder.embed_documents(one.memories)) for one in conversations]
    result = []
    for position, one in enumerate(conversations):
        questions = _unit([await embedder.embed_query(question) for question in one.questions])
        others = [matrix for place, matrix in enumerate(memories) if place != position]
        foreign = np.concatenate([1 - questions @ matrix.T for matrix in others], axis=1) if others else None
        result.append(
            Distances(
                own=1 - questions @ memories[position].T,
                foreign=np.empty((len(questions), 0)) if foreign is None else foreign,
            )
        )
    return result


def _conversation(one: dict) -> Conversation:
    places = {memory["id"]: place for place, memory in enumerate(one["memories"])}
    asked = [question for question in one["questions"] if any(turn in places for turn in question["gold"])]
    evidence = np.zeros((len(asked), len(places)), dtype=np.bool_)
    for row, question in enumerate(asked):
        evidence[row, [places[turn] for turn in question["gold"] if turn in places]] = True
    return Conversation(
        id=one["id"],
        memories=tuple(memory["text"] for memory in one["memories"]),
        questions=tuple(question["text"] for question in asked),
        evidence=evidence,
        ages_seconds=np.array([one["asked_at"] - memory["timestamp"] for memory in one["memories"]], dtype=np.float64),
    )


def _unit(vectors: Sequence[VectorLike]) -> FloatArray:
    matrix = np.asarray(vectors, dtype=np.float64)
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))
