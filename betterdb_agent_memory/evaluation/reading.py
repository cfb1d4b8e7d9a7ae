"""A dataset from a file, whichever of the three forms it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.evaluation.dataset import Dataset
from betterdb_agent_memory.evaluation.json_lines import read_json_lines
from betterdb_agent_memory.evaluation.locomo import read_locomo, read_reduced
from betterdb_agent_memory.evaluation.texts import text_of

EXAMPLE: Final = Path(__file__).with_name("neighbours.jsonl")
"""A small set of our own writing: three conversations of everyday life."""


def load_dataset(file: Path) -> Dataset:
    """Read LoCoMo's file, its reduced form, or JSON lines: the content says which it is. UTF-8, a BOM may be there.

    Raises:
        InvalidInputError: it is none of them, or holds no question with an answer; the message says where.
        OSError: it cannot be read.
    """
    text = text_of(file.name, file.read_bytes())
    dataset = _read(file, text)
    if not dataset.question_count:
        raise InvalidInputError(f"{file.name} holds no question with an answer: nothing to measure")
    return dataset


def _read(file: Path, text: str) -> Dataset:
    try:
        loaded = None if file.suffix == ".jsonl" else json.loads(text)
    except (ValueError, RecursionError):  # or it is JSON lines, of which the first bad one is named
        loaded = None
    if isinstance(loaded, list):
        return read_locomo(file.name, loaded)
    if isinstance(loaded, dict) and "conversations" in loaded:
        return read_reduced(file.name, loaded)
    return read_json_lines(file.name, text.split("\n"))
