"""Load a dataset into a store, ask its questions in each way, and judge the answers."""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final
from uuid import uuid4

from prometheus_client import CollectorRegistry

from betterdb_agent_memory.agent_memory import AgentMemory
from betterdb_agent_memory.embedders.base import Embedder
from betterdb_agent_memory.engines import is_server_url, open_engine
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.evaluation.dataset import Collection, Dataset
from betterdb_agent_memory.evaluation.loading import StoryClock, load
from betterdb_agent_memory.evaluation.metrics import DEEPEST, Judged, Latency, Quality
from betterdb_agent_memory.evaluation.results import Cost, Evaluation, StrategyResult
from betterdb_agent_memory.evaluation.strategies import Strategy
from betterdb_agent_memory.memory import watch
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.record import memory_collection
from betterdb_agent_memory.memory.store import MemoryStore
from betterdb_agent_memory.options import CacheOptions, MemoryOptions, MemoryTelemetryOptions
from betterdb_agent_memory.telemetry import ENGINE_COUNTERS
from betterdb_agent_memory.version import package_version

_KEPT_BESIDE: Final = ("__mem_generation", "__mem_mending", "__mem_sessions", "__mem_stats")
"""What a store may keep under its name beside its memories."""

_NEAR_MISS_WARNING: Final = watch.StoreWatch._warn_of_near_miss.__name__
_DATED: Final = "What happened on 8 May 2023?"


@dataclass(slots=True)
class _Answers:
    """What one strategy has answered so far, with one embedder."""

    judged: list[Judged] = field(default_factory=list)
    by_category: dict[str, list[Judged]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)
    round_trips: float = 0
    bytes: float = 0
    near_misses: int = 0

    def result(self, embedder: str, strategy: str, *, on_server: bool) -> StrategyResult:
        asked = len(self.judged)
        return StrategyResult(
            embedder,
            strategy,
            Quality.of(self.judged),
            {category: Quality.of(judged) for category, judged in sorted(self.by_category.items())},
            Latency.of(self.seconds),
            Cost(self.round_trips / asked, self.bytes / asked) if on_server else None,
            self.near_misses,
        )


async def evaluate(
    dataset: Dataset,
    strategies: Sequence[Strategy],
    embedders: Mapping[str, Embedder],
    *,
    url: str | None = None,
    memory: MemoryOptions | None = None,
    on_progress: ProgressFn | None = None,
) -> Evaluation:
    """Answer every question of `dataset` in each of `strategies`, with the vectors of each of `embedders`.

    Each collection is loaded into a store of its own: on the server or file of `url`, under a random name that is
    removed afterwards, or by default in a temporary file. `memory` are options of these stores. Questions are
    asked one after the other for 20 memories, as if at the time they say, and change nothing. A latency is
    that of a whole recall, with embedding the question.

    Raises:
        ConfigurationError: a strategy reranks and `memory` has no reranker.
        InvalidInputError: there is no question, or a memory or a question was refused.
        AgentMemoryError: the engine or an embedder failed.
    """
    reranked = [strategy.name for strategy in strategies if strategy.needs_reranker]
    if reranked and (memory is None or memory.reranker is None):
        raise ConfigurationError(f"{reranked[0]} needs a reranker: MemoryOptions(reranker=...), or --reranker NAME")
    if not dataset.question_count:
        raise InvalidInputError(f"{dataset.name} holds no question: nothing to measure")
    on_server = url is not None and is_server_url(url)
    results: list[StrategyResult] = []
    loading_seconds: dict[str, float] = {}
    for name, embedder in embedders.items():
        answers = {strategy.name: _Answers() for strategy in strategies}
        loading_seconds[name] = 0.0
        progress = _Watched(on_progress, name, dataset, len(strategies))
        for collection in dataset.asked:
            async with AsyncExitStack() as cleaning:
                store = await _opened(cleaning, url, embedder, memory)
                began = perf_counter()
                own = await load(store.memory, collection, store.clock)
                loading_seconds[name] += perf_counter() - began
                progress.loaded(collection)
                for strategy in strategies:
                    await _ask(store, collection, strategy, own, answers[strategy.name])
                    progress.asked(collection)
        results += [answers[strategy.name].result(name, strategy.name, on_server=on_server) for strategy in strategies]
    return Evaluation(
        dataset.name,
        dataset.entry_count,
        dataset.question_count,
        dataset.left_out,
        "server" if on_server else "file",
        package_version(),
        results,
        loading_seconds,
    )


@dataclass(frozen=True, slots=True)
class _Store:
    """A store of one collection, and what its engine counts."""

    name: str
    memory: MemoryStore
    clock: StoryClock
    registry: CollectorRegistry

    def traffic(self) -> tuple[float, float]:
        """Round trips and bytes so far."""
        trips, sent, received = (
            self.registry.get_sample_value(f"{counter}_total", {"name": self.name}) or 0 for counter in ENGINE_COUNTERS
        )
        return trips, sent + received


async def _opened(
    cleaning: AsyncExitStack, url: str | None, embedder: Embedder, memory: MemoryOptions | None
) -> _Store:
    """A new store, to be closed and removed by `cleaning`.

    Vectors of questions are not kept, else the second strategy would get those of the first for nothing.
    """
    place = url
    if place is None:
        folder = cleaning.enter_context(tempfile.TemporaryDirectory(prefix="betterdb-memory-eval-"))
        place = str(Path(folder) / "memory.db")
    name = f"eval_{uuid4().hex}"
    cleaning.enter_context(_muted(name))
    registry, clock = CollectorRegistry(), StoryClock()
    options = (memory or MemoryOptions()).model_copy(
        update={"telemetry": MemoryTelemetryOptions(registry=registry), "discovery": False, "config_refresh": False}
    )
    caches = CacheOptions(embeddings=False, discovery=False, config_refresh=False)
    if url is not None:
        cleaning.push_async_callback(_remove, place, name)
    agent = AgentMemory.open(place, name=name, embedder=embedder, memory=options, caches=caches, clock=clock)
    return _Store(name, (await cleaning.enter_async_context(agent)).memory, clock, registry)


@contextmanager
def _muted(name: str) -> Iterator[None]:
    """Nothing is logged of near misses of this store: they are counted in the result, and nobody tunes it."""

    def is_another(record: logging.LogRecord) -> bool:
        return record.funcName != _NEAR_MISS_WARNING or not isinstance(record.args, tuple) or name not in record.args

    log = logging.getLogger(watch.__name__)
    log.addFilter(is_another)
    try:
        yield
    finally:
        log.removeFilter(is_another)


async def _remove(place: str, name: str) -> None:
    engine = open_engine(place)
    try:
        await engine.records(memory_collection(name)).drop()
        for key in _KEPT_BESIDE:
            await engine.values.delete(f"{name}:{key}")
    finally:
        await engine.close()


async def _ask(
    store: _Store, collection: Collection, strategy: Strategy, own: Mapping[str, str], answers: _Answers
) -> None:
    # What is done once, such as loading a model or the reader of dates, is no part of a recall.
    for text in (_DATED, collection.questions[0].text):
        await store.memory.recall(text, k=DEEPEST, reinforce=False, **strategy.options)
    missed_before = (await store.memory.stats()).near_misses.count
    trips_before, bytes_before = store.traffic()
    for question in collection.questions:
        now = collection.asked_at_ms if question.asked_at_ms is None else question.asked_at_ms
        began = perf_counter()
        hits = await store.memory.recall(question.text, k=DEEPEST, reinforce=False, now=now, **strategy.options)
        answers.seconds.append(perf_counter() - began)
        judged = Judged.of([own.get(hit.item.id, "") for hit in hits], question.expected)
        answers.judged.append(judged)
        if question.category is not None:
            answers.by_category[question.category].append(judged)
    trips, traffic = store.traffic()
    answers.near_misses += (await store.memory.stats()).near_misses.count - missed_before
    answers.round_trips += trips - trips_before
    answers.bytes += traffic - bytes_before


class _Watched:
    """Tells how far the work with one embedder is."""

    def __init__(self, follow: ProgressFn | None, embedder: str, dataset: Dataset, strategies: int) -> None:
        self._follow = follow
        self._embedder = embedder
        self._memories = dataset.entry_count
        self._questions = dataset.question_count * strategies
        self._loaded = self._asked = 0
        self._tell("remembering", 0, self._memories)

    def loaded(self, collection: Collection) -> None:
        self._loaded += len(collection.entries)
        self._tell("remembering", self._loaded, self._memories)

    def asked(self, collection: Collection) -> None:
        self._asked += len(collection.questions)
        self._tell("asking", self._asked, self._questions)

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self._follow is not None:
            self._follow(Progress(f"{stage} ({self._embedder})", done, total))
