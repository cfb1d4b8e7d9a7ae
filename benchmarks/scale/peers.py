"""Ours and the published package on the same store of the same server, in turns: recall and remember."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import valkey

from benchmarks.peer_worker import PackageProcess
from benchmarks.recall_latency import ROOT
from benchmarks.synthetic import Corpus, Question

K = 8
TURNS = 4
CALLS = 25
OURS, PUBLISHED = "ours", "published"
ASKED = ("recall, 1%", "recall, 100%", "recall, 1%, its default", "recall, 100%, its default", "remember")


@dataclass(slots=True)
class _Side:
    package: PackageProcess
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ASKED})


def measure(url: str, peer: Path, name: str, corpus: Corpus, size: int) -> dict[str, Any]:
    """Milliseconds by call and side, median and 99th percentile; both read replies in C.

    "its default" is with reinforcement, deferred in ours (as `AgentMemory.open` has it) with the flush counted in.
    """
    questions = corpus.questions((TURNS + 1) * CALLS * len(ASKED), range(size))
    with ExitStack() as stack:
        workload = Path(stack.enter_context(tempfile.TemporaryDirectory()), "workload.npz")
        np.savez(
            workload,
            texts=np.array([question.text for question in questions]),
            vectors=np.array([question.vector for question in questions]),
        )
        client = stack.enter_context(valkey.Valkey.from_url(url))
        sides = {}
        for label, path, options in ((OURS, ROOT, {"reinforcement": "deferred"}), (PUBLISHED, peer, {})):
            package = stack.enter_context(PackageProcess(path, url, name, workload, c_parser=True))
            package.ask("open_store", store="plain", options=options)
            sides[label] = _Side(package)
        waiting = iter(questions)
        for turn in range(TURNS + 1):
            labels = [OURS, PUBLISHED] if turn % 2 else [PUBLISHED, OURS]
            for asked in ASKED:
                texts = [next(waiting) for _ in range(CALLS)]
                for label in labels:
                    seconds = _one_turn(client, name, sides[label].package, asked, texts)
                    if turn:  # the first one loads scripts and looks at the index
                        sides[label].seconds[asked] += seconds
    return {label: {asked: _summary(side.seconds[asked]) for asked in ASKED} for label, side in sides.items()}


def _one_turn(
    client: valkey.Valkey,
    name: str,
    package: PackageProcess,
    asked: str,
    questions: Sequence[Question],
) -> list[float]:
    texts = [question.text for question in questions]
    if asked == "remember":
        answer = package.ask("remember", store="plain", texts=texts, thread="new")
        # The store stays as it was: what was asked for is not to be found among what was added.
        client.unlink(*[f"{name}:mem:{id}" for id in answer["ids"]])
    else:
        thread = questions[0].scope("1%")["thread_id"] if "1%" in asked.split(", ") else None
        answer = package.ask(
            "recall", store="plain", texts=texts, thread=thread, k=K, reinforce=asked.endswith("default")
        )
    share = answer["after_seconds"] / len(texts)
    return [one + share for one in answer["seconds"]]


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"calls": len(seconds), "p50_ms": float(p50), "p99_ms": float(p99)}
