"""The synchronous twin: the same names, from threads, scripts and notebooks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import betterdb_agent_memory as asynchronous
from betterdb_agent_memory import sync
from betterdb_agent_memory.sync import AgentMemory, ConfigurationError, InvalidInputError, MemoryStore, Tag
from betterdb_agent_memory.sync.bridge import Bridged, wait
from scripts import generate_sync
from tests.servers import ValkeyServer

VECTORS = {"tea": [1.0, 0.0], "coffee": [0.9, 0.1], "stars": [0.0, 1.0]}


def embed(text: str) -> list[float]:
    """A plain function: one word, one vector."""
    return VECTORS.get(text, [0.5, 0.5])


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentMemory]:
    with AgentMemory.open(tmp_path / "memory.db", embedder=embed) as agent:
        yield agent


def test_what_was_generated_is_what_the_source_says_now() -> None:
    assert generate_sync.TARGET.read_text(encoding="utf-8") == generate_sync.generated()


def test_every_name_is_there() -> None:
    assert {name for name in asynchronous.__all__ if not hasattr(sync, name)} == set()
    waiting = {
        name
        for name in asynchronous.__all__
        if inspect.isclass(found := getattr(asynchronous, name))
        and not issubclass(found, Exception)
        and any(inspect.iscoroutinefunction(member) for member in vars(found).values())
    }
    assert waiting - set(generate_sync.CLASSES) == set(generate_sync.WITHOUT_TWIN)


@pytest.mark.parametrize("name", sorted(generate_sync.CLASSES))
def test_signatures_are_the_same(name: str) -> None:
    theirs, ours = (
        getattr(importlib.import_module(generate_sync.CLASSES[name]), name),
        getattr(sync, name),
    )
    for member, found in inspect.getmembers(theirs, callable):
        if (member.startswith("_") and member != "__init__") or member in generate_sync.INTERNAL.get(name, set()):
            continue
        twin = getattr(ours, member)
        if member == "__init__" and twin is Bridged.__init__:
            continue
        expected = [(p.name, p.kind, p.default) for p in inspect.signature(found).parameters.values()]
        assert [(p.name, p.kind, p.default) for p in inspect.signature(twin).parameters.values()] == expected, member


def test_remember_and_recall(agent: AgentMemory) -> None:
    first = agent.memory.remember("tea", thread_id="t", tags=["drink"])
    agent.memory.remember_many(["coffee", "stars"], thread_id="t")
    hits = agent.memory.recall("tea", k=1, thread_id="t")
    assert [hit.item.content for hit in hits] == ["tea"]
    assert {item.content for item in agent.memory.iterate(thread_id="t")} == {"tea", "coffee", "stars"}
    assert [item.id for item in agent.memory.iterate(where=Tag("drink"))] == [first]
    assert agent.memory.current_config().threshold == agent.memory.stats().config.threshold
    assert agent.memory.name == "betterdb_ac"
    with pytest.raises(InvalidInputError, match="importance"):
        agent.memory.remember("tea", importance=7)


def test_an_iteration_that_is_left_early_ends(agent: AgentMemory) -> None:
    agent.memory.remember_many(["tea", "coffee", "stars"])
    for item in agent.memory.iterate(page_size=1):
        assert item.content in VECTORS
        break
    assert len(list(agent.memory.iterate())) == 3


def test_threads_share_an_object(valkey_server: ValkeyServer, store_name: str) -> None:
    with (
        AgentMemory.open(valkey_server.url, name=store_name, embedder=embed) as agent,
        ThreadPoolExecutor(16) as threads,
    ):
        ids = list(threads.map(lambda number: agent.memory.remember("tea", thread_id=str(number)), range(64)))
        found = list(threads.map(lambda number: agent.memory.recall("tea", thread_id=str(number)), range(64)))
        assert [hits[0].item.id for hits in found] == ids


async def test_a_notebook_has_a_loop_that_runs(agent: AgentMemory) -> None:
    assert asyncio.get_running_loop().is_running()
    agent.memory.remember("stars")
    assert [hit.item.content for hit in agent.memory.recall("stars")] == ["stars"]


def test_plain_functions_may_call_back(agent: AgentMemory) -> None:
    agent.memory.remember_many(["tea", "coffee"], thread_id="t")

    def summarize(items: list[sync.MemoryItem]) -> str:
        # It runs in a thread of its own, so it may wait.
        assert agent.memory.stats().item_count == 2
        return "stars"

    result = agent.memory.consolidate(summarize=summarize, thread_id="t")
    assert isinstance(result, sync.ConsolidateResult)
    assert result.consolidated == 2
    assert [item.content for item in agent.memory.iterate()] == ["stars"]


def test_waiting_inside_the_loop_is_refused(agent: AgentMemory) -> None:
    refusals: list[BaseException] = []

    def on_progress(progress: sync.Progress) -> None:
        try:
            agent.memory.stats()
        except ConfigurationError as error:
            refusals.append(error)

    agent.memory.remember_many(["tea"], on_progress=on_progress)
    assert refusals
    assert "inside a callback" in str(refusals[0])


def test_spans_keep_their_parent(tmp_path: Path) -> None:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    store = asynchronous.MemoryStore(
        client=asynchronous.AgentMemory.open(":memory:", embedder=sync.FunctionEmbedder(_embed))._engine,
        name="s",
        embed_fn=_embed,
    )
    seen: list[trace.Span] = []
    original = store.flush

    async def flush() -> None:
        seen.append(trace.get_current_span())
        await original()

    store.flush = flush  # type: ignore[method-assign]
    bridged: MemoryStore = MemoryStore._around(store)
    with tracer.start_as_current_span("parent") as parent:
        bridged.flush()
    assert [span.get_span_context() for span in seen] == [parent.get_span_context()]


async def _embed(text: str) -> list[float]:
    return VECTORS[text]


def test_the_caches_have_their_twins(agent: AgentMemory) -> None:
    params: sync.LlmCacheParams = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    calls: list[str] = []

    def call() -> str:
        calls.append("called")
        return "answer"

    assert [agent.llm.get_or_call(params, call).response for _ in range(3)] == ["answer"] * 3
    assert calls == ["called"]
    assert agent.llm.check(params).hit
    agent.session.set("t", "f", "v")
    assert agent.session.get_all("t") == {"f": "v"}
    assert agent.stats().session.writes == 1
    agent.config.set(threshold=0.5)
    assert agent.memory.current_config().threshold == 0.5
    agent.flush()
    assert agent.session.get("t", "f") is None


def test_plain_functions_are_cached(agent: AgentMemory) -> None:
    calls: list[int] = []

    @agent.tool.cached(ttl=60)
    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    assert [double(2), double(number=2), double(3)] == [4, 4, 6]
    assert calls == [2, 3]
    assert double.invalidate(2)
    assert not double.invalidate(2)
    assert (double(2), calls) == (4, [2, 3, 2])
    assert double.__name__ == "double"
    assert agent.tool.check("double", {"number": 2}).key == double.cache_key(2)


SCRIPT = """
import sys, time
from betterdb_agent_memory.sync import AgentMemory

def slow(text):
    print("embedding", flush=True)
    time.sleep(2)
    return [1.0, 0.0]

agent = AgentMemory.open(sys.argv[1], embedder=slow)
try:
    agent.memory.remember("tea")
except KeyboardInterrupt:
    print("interrupted", flush=True)
time.sleep(2.5)
print(agent.memory.stats().item_count, flush=True)
"""


def test_an_interrupt_ends_the_call_and_its_work(tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "memory.db")], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "embedding\n"
    time.sleep(0.3)
    worker.send_signal(signal.SIGINT)
    rest, _ = worker.communicate(timeout=30)
    assert rest.split() == ["interrupted", "0"]
    assert worker.returncode == 0


def test_a_forked_child_has_a_loop_of_its_own(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys
        from betterdb_agent_memory.sync import AgentMemory
        def embed(text): return [1.0, 0.0]
        with AgentMemory.open(sys.argv[1], embedder=embed) as agent:
            agent.memory.remember("tea")
            if os.fork() == 0:
                with AgentMemory.open(sys.argv[1], embedder=embed) as child:
                    child.memory.remember("coffee")
                os._exit(0)
            print(os.wait()[1], agent.memory.stats().item_count)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "memory.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "0 2\n", done.stderr


def test_a_program_that_forgot_to_close_ends(tmp_path: Path) -> None:
    script = (
        "import sys; from betterdb_agent_memory.sync import AgentMemory; "
        "agent = AgentMemory.open(sys.argv[1], embedder=lambda text: [1.0, 0.0]); "
        "agent.memory.remember('tea'); print('done')"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "memory.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("close", ["agent.close()", "pass"])
@pytest.mark.parametrize("hold", ["items", "itertools.islice(items, 2)"])
def test_a_program_that_holds_an_unfinished_iteration_ends(close: str, hold: str) -> None:
    script = textwrap.dedent(
        f"""
        import itertools
        from betterdb_agent_memory.sync import AgentMemory
        agent = AgentMemory.open(":memory:", embedder=lambda text: [1.0, 0.0])
        agent.memory.remember_many(["tea", "coffee", "water"])
        items = agent.memory.iterate(page_size=1)
        held = {hold}
        print(next(held).content in ["tea", "coffee", "water"])
        {close}
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_the_cache_goes_around_a_blocking_client(agent: AgentMemory) -> None:
    from openai.types.chat import ChatCompletion

    calls: list[str] = []

    def create(**arguments: object) -> ChatCompletion:
        calls.append(str(arguments["model"]))
        message = {"role": "assistant", "content": "Stockholm"}
        return ChatCompletion.model_validate(
            {
                "id": "1",
                "created": 1,
                "model": "gpt-4o-mini",
                "object": "chat.completion",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            }
        )

    cached = sync.cached_openai_chat(agent.llm, create, ttl=60)
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Capital of Sweden?"}]}
    answers = [cached(**request) for _ in range(2)]
    assert [answer.choices[0].message.content for answer in answers] == ["Stockholm", "Stockholm"]
    assert [sync.is_cached(answer) for answer in answers] == [False, True]
    assert calls == ["gpt-4o-mini"]


def test_plain_functions_may_call_each_other_in_any_number(agent: AgentMemory) -> None:
    @agent.tool.cached(ttl=60)
    def inner(number: int) -> int:
        return number

    @agent.tool.cached(ttl=60)
    def outer(number: int) -> int:
        time.sleep(0.05)
        return inner(number) + 1

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(outer, range(40), timeout=30)) == list(range(1, 41))


def test_slow_functions_hold_up_nobody_else(agent: AgentMemory) -> None:
    agent.memory.remember("tea")
    going = threading.Event()

    @agent.tool.cached(ttl=60)
    def slow(number: int) -> int:
        going.wait(30)
        return number

    with ThreadPoolExecutor(40) as threads:
        waiting = [threads.submit(slow, number) for number in range(40)]
        assert [hit.item.content for hit in agent.memory.recall("tea")] == ["tea"]
        assert not any(future.done() for future in waiting)
        going.set()


def test_a_function_that_raises_stop_iteration_is_told_of(agent: AgentMemory) -> None:
    @agent.tool.cached()
    def first(number: int) -> int:
        return next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        first(1)
    with pytest.raises(RuntimeError, match="StopIteration"):
        agent.llm.get_or_call({"model": "m", "messages": []}, lambda: next(iter([])))


def test_options_take_plain_functions(valkey_server: ValkeyServer, store_name: str) -> None:
    client = valkey_server.client()
    options = sync.AgentMemoryOptions(client=client, name=store_name, embed_fn=embed)
    assert isinstance(options, asynchronous.AgentMemoryOptions)
    with AgentMemory(options) as agent:
        agent.memory.remember("tea")
        assert [hit.item.content for hit in agent.memory.recall("tea")] == ["tea"]
    wait(client.aclose())


def test_changes_are_followed_without_await(agent: AgentMemory) -> None:
    agent.memory.remember("tea", thread_id="t")
    with contextlib.closing(agent.memory.changes(thread_id="t", group="g", since="oldest")) as changes:  # type: ignore[type-var]
        threading.Timer(0.3, lambda: agent.memory.remember("coffee", thread_id="t")).start()
        assert next(changes).kind == "remembered"
    status = agent.memory.change_feed()
    assert status is not None
    assert [(group.name, group.consumers) for group in status.groups] == [("g", 0)]
    assert agent.memory.wait_for(next(agent.memory.changes(since="oldest")).memory_id).content == "coffee"


def test_dynamics_without_await(agent: AgentMemory) -> None:
    agent.memory.remember("tea", id="m")
    [hit] = agent.dynamics.recall("tea")
    assert agent.dynamics.standing([hit])[0].id == hit.standing.id == "m"
    assert agent.memory.recall("tea", context=["tea"], min_confidence=0.5, scoring="activation")[0].item.id == "m"
    assert agent.memory.recall("tea", min_confidence=0.99) == []
    learnt = agent.dynamics.reward("that was exactly it")
    assert learnt is not None
    assert [lesson.id for lesson in learnt.lessons] == ["m"]
    own = sync.Dynamics(agent.memory, "chatbot", detector=lambda said: -1.0)
    blamed = own.reward("hm", ["m"])
    assert blamed is not None
    assert blamed.value == -1.0
    assert own.maintain().looked_at == 1
    assert agent.tenant("acme").dynamics.stats().all.memories == 0
