"""Changing the embedding model of a store that others are recalling from and writing to.

    python -m benchmarks.model_change --dataset DATASET.json

Fills a store, then moves it from WordLlama with 256 dimensions to 128 while one process recalls all the time and
another remembers, changes and forgets. The process that runs the change is killed with SIGKILL twice while it
fills the generation and once while it finishes. Prints, for each phase, how many recalls there were, how many of
them failed, and their recall@10 against a comparison with every vector of the model in force.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.conversations import load_conversations
from betterdb_agent_memory import (
    LeaseHeldError,
    LeaseLostError,
    MemoryDraft,
    MemoryListOptions,
    MemoryStore,
    Progress,
    RecallWeights,
)
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory.generations import migration as migration_module
from tests.servers import ValkeyServer

NAME = "changing"
FORMER, NEXT = 256, 128
FIXED, LIVE = "fixed", "live"
QUESTIONS = 200
K = 10
READY = "ready"
SECONDS_TO_HEAR = 1.3
"""A worker believes for a second what it read; until then either model may answer."""

_STEPS_A_SECOND = 40
_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Answer:
    """One recall: when it began and ended (seconds since the epoch), which question, and what came."""

    began: float
    ended: float
    question: int
    ids: tuple[int, ...]


@dataclass(slots=True)
class PhaseFigures:
    """What readers saw in one phase."""

    phase: str
    seconds: float
    recalls: int = 0
    errors: int = 0
    recall_at_10: float = 0.0
    worst: float = 1.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(slots=True)
class Outcome:
    """One change of models on one engine."""

    engine: str
    memories: int
    kills: int
    phases: list[PhaseFigures]
    errors: list[str]
    writes: int
    exact: bool
    seconds: float
    problems: list[str] = field(default_factory=list)


def texts_of(count: int, dataset: Path | None) -> list[str]:
    """Different texts: turns of conversations with a number, or sentences made of words."""
    dice = random.Random(7)
    if dataset is not None:
        turns = [turn for conversation in load_conversations(dataset) for turn in conversation.memories]
        extra = ["today", "yesterday", "later", "again", "perhaps", "surely", "never", "always", "soon", "then", "now"]
        return [f"{turns[n % len(turns)]} {' '.join(dice.sample(extra, 2))} {n}" for n in range(count)]
    words = [
        f"{a}{b}" for a in ("ba", "ke", "li", "mo", "nu", "pra", "ste", "tru") for b in ("dan", "fel", "gor", "his")
    ]
    words += ["dinner", "garden", "meeting", "train", "weather", "music", "holiday", "doctor", "budget", "kitchen"]
    return [f"{' '.join(dice.choices(words, k=12))} {n}" for n in range(count)]


def store_on(engine: Engine) -> MemoryStore:
    """A worker's store, with both models; hits are ranked by similarity alone."""
    return MemoryStore(
        client=engine,
        name=NAME,
        embed_fn=WordLlamaEmbedder(FORMER),
        next_embed_fn=WordLlamaEmbedder(NEXT),
        default_threshold=2.0,
        weights=RecallWeights(similarity=1.0, recency=0.0, importance=0.0),
    )


async def read_all_the_time(url: str, questions: Sequence[str], total: int) -> dict[str, Any]:
    """Recall until told to stop; each answer, and each error with its time."""
    engine = open_engine(url)
    store = store_on(engine)
    answers: list[Any] = []
    errors: list[Any] = []
    dice = random.Random(11)
    turn = 0
    await store.recall(questions[0], k=K, namespace=FIXED, reinforce=False)
    print(READY, flush=True)
    while not _told_to_stop():
        turn += 1
        question = dice.randrange(len(questions))
        began = time.time()
        try:
            hits = await store.recall(questions[question], k=K, namespace=FIXED, reinforce=False)
            answers.append((began, time.time(), question, [int(hit.item.id[1:]) for hit in hits]))
            if turn % 50 == 0:
                listed = (await store.list(MemoryListOptions(namespace=FIXED, limit=1))).total
                if listed != total:
                    errors.append((time.time(), f"list counts {listed} of {total}"))
        except Exception as error:  # noqa: BLE001 - every error counts, whatever it is
            errors.append((time.time(), f"{type(error).__name__}: {error}"))
        await asyncio.sleep(0.005)
    await store.close()
    await engine.close()
    return {"answers": answers, "errors": errors}


async def write_all_the_time(url: str) -> dict[str, Any]:
    """Remember, change and forget until told to stop; what has to be there, and each error."""
    engine = open_engine(url)
    store = store_on(engine)
    there: dict[str, str] = {}
    gone: list[str] = []
    errors: list[Any] = []
    dice = random.Random(13)
    steps = 0
    await store.recall("anything", namespace=LIVE, reinforce=False)
    print(READY, flush=True)
    while not _told_to_stop():
        steps += 1
        try:
            if steps % 4 == 0 and there:
                id = dice.choice(list(there))
                there[id] = f"{there[id]} changed {steps}"
                await store.update(id, content=there[id])
            elif steps % 7 == 0 and there:
                id = dice.choice(list(there))
                del there[id]
                gone.append(id)
                await store.forget(id)
            else:
                text = f"a live note number {steps} about the {dice.choice(['garden', 'train', 'budget'])}"
                there[await store.remember(text, namespace=LIVE)] = text
        except Exception as error:  # noqa: BLE001 - every error counts, whatever it is
            errors.append((time.time(), f"{type(error).__name__}: {error}"))
        await asyncio.sleep(1 / _STEPS_A_SECOND)
    await store.close()
    await engine.close()
    return {"there": there, "gone": gone, "errors": errors, "writes": steps}


async def take_step(url: str, step: str) -> None:
    """One step of the change, as an operator's process does it; progress goes to stdout."""
    engine = open_engine(url)
    store = store_on(engine)

    def tell(progress: Progress) -> None:
        print(json.dumps([progress.stage, progress.done]), flush=True)

    options: dict[str, Any] = {"on_progress": tell} if step in ("run", "finish") else {}
    while True:
        try:
            await getattr(store.migration, step)(**options)
            break
        except (LeaseHeldError, LeaseLostError):  # of a process that was killed; this one stood still
            await asyncio.sleep(0.5)
    await store.close()
    await engine.close()


def _told_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


class Change:
    """The change of one store, seen from outside."""

    def __init__(self, url: str, texts: Sequence[str], questions: Sequence[str], arguments: argparse.Namespace) -> None:
        self._url = url
        self._texts = texts
        self._questions = questions
        self._arguments = arguments
        self._moments: list[tuple[str, float]] = []
        self.kills = 0

    async def measure(self, label: str) -> Outcome:
        """Fill the store, change its model, look at what the others saw."""
        began = time.time()
        await self._fill()
        nearest = {size: await nearest_of(self._texts, self._questions, size) for size in (FORMER, NEXT)}
        given = json.dumps({"url": self._url, "questions": list(self._questions), "total": len(self._texts)})
        reader, writer = self._process("--role", "reader"), self._process("--role", "writer")
        try:
            for process in (reader, writer):
                _stdin(process).write(given + "\n")
                _stdin(process).flush()
            for process in (reader, writer):
                line = await asyncio.to_thread(cast("Any", process.stdout).readline)
                assert line.strip() == READY
            self._begin("before")
            await asyncio.sleep(self._arguments.pause_seconds)
            await asyncio.to_thread(self._change)
            await asyncio.sleep(self._arguments.pause_seconds)
            self._moments.append(("end", time.time()))
            read, wrote = (json.loads(process.communicate("stop\n", timeout=60)[0]) for process in (reader, writer))
        finally:
            for process in (reader, writer):
                process.kill()
                process.wait()
        problems = await self._problems(wrote)
        answers = [Answer(began, ended, question, tuple(ids)) for began, ended, question, ids in read["answers"]]
        errors = [*read["errors"], *wrote["errors"]]
        return Outcome(
            label,
            len(self._texts),
            self.kills,
            self._figures(answers, read["errors"], nearest),
            [text for _, text in errors],
            wrote["writes"],
            not problems,
            time.time() - began,
            problems,
        )

    def _change(self) -> None:
        self._begin("filling")
        self._step("start")
        for share in (0.25, 0.6):
            self._step("run", kill_in="embedding", at=round(share * len(self._texts)))
        self._step("run")
        self._begin("ready")
        self._step("switch")
        self._begin("switched")
        time.sleep(self._arguments.pause_seconds)
        self._begin("finishing")
        self._step("finish", kill_in="replacing vectors", at=round(0.4 * len(self._texts)))
        self._step("finish")
        self._begin("after")

    def _begin(self, phase: str) -> None:
        self._moments.append((phase, time.time()))

    def _step(self, step: str, *, kill_in: str = "", at: int = 0) -> None:
        process = self._process("--role", step, "--url", self._url)
        for line in cast("Iterator[str]", process.stdout):
            stage, done = json.loads(line)
            if kill_in == stage and done >= at:
                process.kill()
                self.kills += 1
                process.wait()
                _close(process)
                return
        code = process.wait()
        _close(process)
        if code:
            raise RuntimeError(f"{step} ended with {code}")
        if kill_in:
            raise RuntimeError(f"{step} was over before it could be killed in {kill_in!r}")

    def _process(self, *arguments: str) -> subprocess.Popen[str]:
        shared = [
            "--lease-seconds",
            str(self._arguments.lease_seconds),
            "--first-grace-seconds",
            str(self._arguments.first_grace_seconds),
        ]
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.model_change", *arguments, *shared],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def _fill(self) -> None:
        engine = open_engine(self._url)
        store = store_on(engine)
        drafts = [MemoryDraft(text, id=f"m{number}", namespace=FIXED) for number, text in enumerate(self._texts)]
        stored = await store.remember_many(drafts)
        assert all(result.outcome == "stored" for result in stored)
        await store.close()
        await engine.close()

    async def _problems(self, wrote: dict[str, Any]) -> list[str]:
        """What is not as it should be afterwards: every vector, the index, and what was written meanwhile."""
        engine = open_engine(self._url)
        store = MemoryStore(client=engine, name=NAME, embed_fn=WordLlamaEmbedder(NEXT), default_threshold=2.0)
        contents = {f"m{number}": text for number, text in enumerate(self._texts)} | wrote["there"]
        problems = []
        records = store._records
        vectors: dict[str, bytes] = {}
        async for rows in records.scan(("content", "vector")):
            for row in rows:
                if row.fields.get("content", b"").decode() != contents.get(row.id):
                    problems.append(f"{row.id} has another content")
                vectors[row.id] = row.fields.get("vector", b"")
        problems += [f"{id} is missing" for id in contents.keys() - vectors.keys()]
        texts = list(contents)
        made = np.asarray(await WordLlamaEmbedder(NEXT).embed_documents([contents[id] for id in texts]), "<f4")
        problems += [
            f"{id} has another vector"
            for id, vector in zip(texts, made, strict=True)
            if id in vectors and vectors[id] != vector.tobytes()
        ]
        state = await records.inspect()
        listed = (await store.list(MemoryListOptions(limit=1))).total
        # Not `failures`, which also counts a write of the former length that came while the index was made anew, and
        # was put right since: what is in the index is what it lists.
        if state.dimensions != NEXT or listed != len(contents):
            problems.append(f"index: {state}, {listed} of {len(contents)} memories")
        for id in random.Random(17).sample(list(wrote["there"]), min(50, len(wrote["there"]))):
            hits = await store.recall(contents[id], k=3, namespace=LIVE, reinforce=False)
            # A static model has one vector for all texts of the same words.
            if id not in {hit.item.id for hit in hits} and not (hits and hits[-1].similarity < _EPSILON):
                problems.append(f"{id}, written meanwhile, is not found")
        status = await store.migration.status()
        if (status.phase, status.embedder) != ("none", WordLlamaEmbedder(NEXT).name):
            problems.append(f"status: {status}")
        await store.close()
        await engine.close()
        return problems

    def _figures(
        self, answers: Sequence[Answer], errors: Sequence[Any], nearest: dict[int, Nearest]
    ) -> list[PhaseFigures]:
        switched = next(at for phase, at in self._moments if phase == "ready")
        heard = next(at for phase, at in self._moments if phase == "switched") + SECONDS_TO_HEAR
        figures = []
        for (phase, began), (_, ended) in zip(self._moments, self._moments[1:], strict=False):
            own = [answer for answer in answers if began <= answer.began < ended]
            scores = []
            for answer in own:
                models = [FORMER] * (answer.began < heard) + [NEXT] * (answer.ended > switched)
                scores.append(max(nearest[model].score(answer) for model in models))
            of_phase = PhaseFigures(phase, ended - began, len(own), sum(began <= at < ended for at, _ in errors))
            if own:
                waits = [1000 * (answer.ended - answer.began) for answer in own]
                of_phase.recall_at_10, of_phase.worst = float(np.mean(scores)), float(np.min(scores))
                of_phase.p50_ms, of_phase.p99_ms = (float(np.percentile(waits, share)) for share in (50, 99))
            figures.append(of_phase)
        return figures


@dataclass(frozen=True, slots=True)
class Nearest:
    """Distances (0 to 2) from each question to each memory, and that to its tenth nearest."""

    distances: np.ndarray
    tenth: np.ndarray

    def score(self, answer: Answer) -> float:
        """The share of the ten that are as near as the true ten."""
        near = self.distances[answer.question, list(answer.ids)] <= self.tenth[answer.question] + _EPSILON
        return float(np.sum(near)) / K


async def nearest_of(texts: Sequence[str], questions: Sequence[str], dimensions: int) -> Nearest:
    """A comparison of every question with every memory, in the vectors of one model."""
    embedder = WordLlamaEmbedder(dimensions)
    memories, asked = [np.asarray(await embedder.embed_documents(list(given))) for given in (texts, questions)]
    distances = 1 - asked @ memories.T
    return Nearest(distances, np.partition(distances, K - 1, axis=1)[:, K - 1])


def _stdin(process: subprocess.Popen[str]) -> Any:
    return process.stdin


def _close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@contextmanager
def _place(engine: str) -> Iterator[str]:
    with ExitStack() as stack:
        if engine == "server":
            yield stack.enter_context(ValkeyServer()).url
        else:
            yield str(Path(stack.enter_context(tempfile.TemporaryDirectory()), "memory.db"))


async def compare(arguments: argparse.Namespace, tell: Callable[[Outcome], None]) -> list[Outcome]:
    """The change on each engine that was asked for."""
    texts = texts_of(arguments.memories, arguments.dataset)
    dice = random.Random(5)
    questions = [" ".join(text.split()[1:8]) for text in dice.sample(texts, min(QUESTIONS, len(texts)))]
    outcomes = []
    for engine in ("server", "embedded") if arguments.engine == "both" else (arguments.engine,):
        with _place(engine) as url:
            outcomes.append(await Change(url, texts, questions, arguments).measure(engine))
        tell(outcomes[-1])
    return outcomes


def print_table(outcome: Outcome) -> None:
    """One change as a table."""
    print(
        f"\n{outcome.engine}: {outcome.memories} memories, killed {outcome.kills} times, {outcome.writes} writes "
        f"beside it, {outcome.seconds:.0f} s, {len(outcome.errors)} errors, "
        f"{'every vector right' if outcome.exact else 'WRONG'}\n"
    )
    print(
        "| phase | seconds | recalls | errors | recall@10 | worst | p50 ms | p99 ms |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for phase in outcome.phases:
        print(
            f"| {phase.phase} | {phase.seconds:.1f} | {phase.recalls} | {phase.errors} | {phase.recall_at_10:.4f} | "
            f"{phase.worst:.1f} | {phase.p50_ms:.1f} | {phase.p99_ms:.1f} |"
        )
    for problem in [*outcome.errors, *outcome.problems][:10]:
        print(f"- {problem}")
    sys.stdout.flush()


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=20_000)
    parser.add_argument("--dataset", type=Path, help="conversations to take texts from, see conversations.py")
    parser.add_argument("--engine", choices=("both", "server", "embedded"), default="both")
    parser.add_argument("--pause-seconds", type=float, default=8.0, help="how long readers go on between steps")
    parser.add_argument("--lease-seconds", type=float, default=5.0, help="30 as released; a killed step holds it on")
    parser.add_argument("--first-grace-seconds", type=float, default=migration_module._FIRST_GRACE_SECONDS)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--role", default="", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, or be one of the processes that are measured."""
    arguments = parsed(given)
    migration_module._LEASE_SECONDS = arguments.lease_seconds
    migration_module._FIRST_GRACE_SECONDS = arguments.first_grace_seconds
    if arguments.role in ("reader", "writer"):
        told = json.loads(sys.stdin.readline())
        if arguments.role == "reader":
            seen = asyncio.run(read_all_the_time(told["url"], told["questions"], told["total"]))
        else:
            seen = asyncio.run(write_all_the_time(told["url"]))
        json.dump(seen, sys.stdout)
    elif arguments.role:
        asyncio.run(take_step(arguments.url, arguments.role))
    else:
        outcomes = asyncio.run(compare(arguments, print_table))
        if arguments.json is not None:
            arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))


if __name__ == "__main__":
    main()
