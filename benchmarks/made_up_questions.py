"""What `calibrate` can tell without questions: thresholds from made-up ones, and from distances between memories.

    python -m benchmarks.made_up_questions DATASET.json
    EMBED_WHEELS=WHEELS python -m benchmarks.made_up_questions DATASET.json --embedder benchmarks.embed_models:bge_small

The dataset's format is described in `benchmarks/conversations.py`. A line for each way of measuring and each rate: the
ceiling that admits that share of the unrelated pairs measured, and what it does to the real questions: the share of the
turns of their conversation that do not answer which it lets in, and the share of the evidence that it keeps.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.calibrate_threshold import embedder_named
from benchmarks.conversations import Conversation, FloatArray, distances, load_conversations
from betterdb_agent_memory.embedders import Embedder
from betterdb_agent_memory.memory.calibrating import QUESTIONS_MADE_UP
from betterdb_agent_memory.memory.calibration import ceiling_for, cosine_distances, made_up_question

RATES = (0.01, 0.05, 0.1, 0.2, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="JSON file of conversations with questions and their evidence")
    parser.add_argument("--embedder", help="module:callable that returns an Embedder (default: WordLlamaEmbedder)")
    arguments = parser.parse_args()
    conversations = load_conversations(arguments.dataset)
    embedder = embedder_named(arguments.embedder)
    asyncio.run(measure(embedder, conversations))


async def measure(embedder: Embedder, conversations: Sequence[Conversation]) -> None:
    """Print the table of one embedder."""
    asked = await distances(embedder, conversations)
    pairs = list(zip(conversations, asked, strict=True))
    related = np.concatenate([found.own[one.evidence] for one, found in pairs])
    unrelated = np.sort(np.concatenate([found.own[~one.evidence] for one, found in pairs]))
    made_up, between = await _without_questions(embedder, conversations)
    print(embedder.name)
    print(f"{'measured with':<18}{'rate':>6}{'ceiling':>9}{'lets in':>9}{'keeps':>8}")
    for name, ordered in (("questions", unrelated), ("made-up questions", made_up), ("memories", between)):
        for rate in RATES:
            ceiling = ceiling_for(ordered, rate)
            lets_in, keeps = np.mean(unrelated <= ceiling), np.mean(related <= ceiling)
            print(f"{name:<18}{100 * rate:5.0f}%{ceiling:9.3f}{100 * lets_in:8.1f}%{100 * keeps:7.1f}%")


async def _without_questions(
    embedder: Embedder, conversations: Sequence[Conversation]
) -> tuple[FloatArray, FloatArray]:
    """Distances of made-up questions to the other turns of their conversation, and between turns; smallest first."""
    made_up, between = [], []
    for one in conversations:
        memories = np.array(await embedder.embed_documents(one.memories), dtype=np.float32)
        places = np.linspace(0, len(memories) - 1, QUESTIONS_MADE_UP).astype(int)
        asked = [await embedder.embed_query(made_up_question(one.memories[place])) for place in places]
        found = cosine_distances(np.array(asked, dtype=np.float32), memories)
        found[np.arange(len(places)), places] = np.nan
        made_up.append(found[~np.isnan(found)])
        between.append(cosine_distances(memories, memories)[np.triu_indices(len(memories), 1)])
    return np.sort(np.concatenate(made_up)), np.sort(np.concatenate(between))


if __name__ == "__main__":
    main()
