"""A package under test in a process of its own, and the hand that drives it.

The published package is imported by the same name as this one, so no process can hold both.
`PackageProcess` starts this file once for each, with only that package on PYTHONPATH; the two
speak JSON, one line a request and one an answer. Both packages therefore run the very same code
under the very same conditions, and only the calls themselves are timed.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from time import perf_counter, process_time
from types import TracebackType
from typing import Any

import numpy as np

NO_CEILING = 2.0
"""The largest cosine distance there is: every candidate counts."""


C_PARSER = "libvalkey"
"""What makes valkey-py read replies in C when it is installed."""


class PackageProcess:
    """`with PackageProcess(path, url, name, workload, c_parser=False) as package:` then `package.ask(...)`.

    `path` is the folder that holds the package; `workload` an .npz file of `texts` and their `vectors`.
    `c_parser` says whether valkey-py may use libvalkey, if that is installed.
    """

    def __init__(self, path: Path, url: str, name: str, workload: Path, *, c_parser: bool) -> None:
        parser = C_PARSER if c_parser else "python"
        self._command = [sys.executable, str(Path(__file__).resolve()), url, name, str(workload), parser]
        self._environment = {**os.environ, "PYTHONPATH": str(path), "BETTERDB_TELEMETRY": "false"}

    def __enter__(self) -> PackageProcess:
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have a method of `_Package` called; what it returned."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self._environment['PYTHONPATH']} ended during {do!r}; see its error")
        return json.loads(answer)


class _Package:
    """Whichever `betterdb_agent_memory` this process imports."""

    def __init__(self, url: str, name: str, workload: Path) -> None:
        import valkey.asyncio

        with np.load(workload) as stored:
            texts, vectors = stored["texts"].tolist(), stored["vectors"]
        # Lists, as most embedding services return them.
        self._vectors: dict[str, list[float]] = dict(zip(texts, vectors.tolist(), strict=True))
        self._blobs: dict[str, bytes] = {text: row.tobytes() for text, row in zip(texts, vectors, strict=True)}
        # 32 callers of a package that compares 100,000 vectors wait for longer than valkey-py's 5 s.
        self._client = valkey.asyncio.Valkey.from_url(url, socket_timeout=60)
        self._name = name
        self._stores: dict[str, Any] = {}
        self._cache: Any = None

    async def about(self) -> dict[str, str]:
        """What exactly is measured here."""
        import valkey

        import betterdb_agent_memory

        connection = await self._client.connection_pool.get_connection("PING")
        parser = type(connection._parser).__name__
        await self._client.connection_pool.release(connection)
        return {
            "path": str(Path(betterdb_agent_memory.__file__ or "").parent.parent),
            "valkey_py": version("valkey"),
            "valkey_py_path": str(Path(valkey.__file__).parent.parent),
            "parser": parser,
        }

    async def open_store(self, store: str, options: dict[str, Any], wordllama: bool = False) -> None:
        """A `MemoryStore` to be called `store` from here on, with the vectors of the workload or with wordllama."""
        from betterdb_agent_memory import MemoryStore

        embed = _wordllama() if wordllama else self._embed
        self._stores[store] = MemoryStore(
            client=self._client, name=self._name, embed_fn=embed, analytics=False, **options
        )

    async def recall(
        self,
        store: str,
        texts: Sequence[str],
        thread: str | None,
        k: int,
        reinforce: bool,
        weights: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        """One recall after the other, then a flush where the store has one."""
        from betterdb_agent_memory import RecallWeights

        memory = self._stores[store]
        options: dict[str, Any] = {"k": k, "threshold": NO_CEILING, "thread_id": thread, "reinforce": reinforce}
        if weights is not None:
            options["weights"] = RecallWeights(**weights)
        seconds, answers = await _timed(texts, lambda text: memory.recall(text, **options))
        began = perf_counter()
        if hasattr(memory, "flush"):
            await memory.flush()
        flush_seconds = perf_counter() - began
        return {
            "seconds": seconds,
            "after_seconds": flush_seconds,
            "ids": [[hit.item.id for hit in hits] for hits in answers],
        }

    async def remember(self, store: str, texts: Sequence[str], thread: str | None) -> dict[str, Any]:
        """One remember after the other."""
        memory = self._stores[store]
        seconds, ids = await _timed(texts, lambda text: memory.remember(text, thread_id=thread, tags=["bench"]))
        return {"seconds": seconds, "after_seconds": 0.0, "ids": ids}

    async def command(self, arguments: Sequence[str | None], texts: Sequence[str]) -> dict[str, Any]:
        """One command with None replaced by the vector of each text: the client library alone, nothing read."""
        commands = {text: [self._blobs[text] if part is None else part for part in arguments] for text in texts}
        seconds, _ = await _timed(texts, lambda text: self._client.execute_command(*commands[text]))
        return {"seconds": seconds, "after_seconds": 0.0}

    async def many_callers(
        self,
        asked: Sequence[tuple[str, dict[str, str]]],
        callers: int,
        at_most_seconds: float,
        recall: dict[str, Any] | None = None,
        command: Sequence[str | None] | None = None,
    ) -> dict[str, Any]:
        """Texts and their scopes, taken one after the other by so many tasks until all are asked or time is over.

        `recall` has the `store` and the `options` of each call; else `command` is sent, with None replaced by the
        vector and `<name>` by what the scope has under that name. Seconds of each call, of all of them together,
        of the flush afterwards, and CPU seconds of this process until the flush is over.
        """
        one = self._recalling(**recall) if recall is not None else self._commanding(command or ())
        waiting = iter(asked)
        seconds: list[float] = []
        cpu, began = process_time(), perf_counter()

        async def caller() -> None:
            for text, scope in waiting:
                start = perf_counter()
                await one(text, scope)
                end = perf_counter()
                seconds.append(end - start)
                if end - began > at_most_seconds:
                    return

        await asyncio.gather(*[caller() for _ in range(callers)])
        flushing = perf_counter()
        memory = self._stores[recall["store"]] if recall is not None else None
        if memory is not None and hasattr(memory, "flush"):
            await memory.flush()
        return {
            "seconds": seconds,
            "wall_seconds": flushing - began,
            "after_seconds": perf_counter() - flushing,
            "cpu_seconds": process_time() - cpu,
        }

    async def takes(self, store: str, option: str) -> bool:
        """Whether `recall` of this package has an option."""
        return option in signature(type(self._stores[store]).recall).parameters

    def _recalling(self, store: str, options: dict[str, Any]) -> Callable[[str, dict[str, str]], Awaitable[Any]]:
        memory = self._stores[store]
        return lambda text, scope: memory.recall(text, threshold=NO_CEILING, **options, **scope)

    def _commanding(self, command: Sequence[str | None]) -> Callable[[str, dict[str, str]], Awaitable[Any]]:
        def filled(text: str, scope: dict[str, str]) -> list[str | bytes]:
            return [self._blobs[text] if part is None else _with_scope(part, scope) for part in command]

        return lambda text, scope: self._client.execute_command(*filled(text, scope))

    async def open_cache(self, name: str, ttl: int | None = None) -> None:
        """An `AgentCache` for the cache calls from here on, nothing in its background."""
        from betterdb_agent_memory import AgentCache, AgentCacheOptions, DiscoveryOptions

        if self._cache is not None:
            await self._cache.shutdown()
        self._cache = AgentCache(
            AgentCacheOptions(
                client=self._client, name=name, default_ttl=ttl, discovery=DiscoveryOptions(enabled=False)
            )
        )

    async def cache(self, verb: str, calls: Sequence[Sequence[Any]], keep: bool = False) -> dict[str, Any]:
        """One call of `tier.verb` after the other, then what is still to be written."""
        tier, _, name = verb.partition(".")
        method = getattr(getattr(self._cache, tier), name)
        seconds, answers = [], []
        for arguments in calls:
            began = perf_counter()
            answer = await method(*arguments)
            seconds.append(perf_counter() - began)
            answers.append(getattr(answer, "hit", answer))
        began = perf_counter()
        if hasattr(self._cache, "embeddings"):  # ours, whose statistics are written later
            await self._cache.stats()
        after = perf_counter() - began
        return {"seconds": seconds, "after_seconds": after, "answers": answers if keep else answers[-1:]}

    async def close(self) -> None:
        if self._cache is not None:
            await self._cache.shutdown()
        for store in self._stores.values():
            await store.close()
        await self._client.aclose()

    async def _embed(self, text: str) -> list[float]:
        return self._vectors[text]


def _wordllama() -> Callable[[str], Awaitable[list[float]]]:
    """The library's own call for one text: what a user of the published package would write."""
    import wordllama

    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

    async def embed(text: str) -> list[float]:
        vector: list[float] = model.embed(text)[0].tolist()
        return vector

    return embed


def _with_scope(part: str, scope: dict[str, str]) -> str:
    for name, value in scope.items():
        part = part.replace(f"<{name}>", value)
    return part


async def _timed(texts: Sequence[str], call: Callable[[str], Awaitable[Any]]) -> tuple[list[float], list[Any]]:
    seconds, answers = [], []
    for text in texts:
        began = perf_counter()
        answer = await call(text)
        seconds.append(perf_counter() - began)
        answers.append(answer)
    return seconds, answers


async def _serve(url: str, name: str, workload: str, parser: str) -> None:
    if parser != C_PARSER:
        # To Python a module that is None is one that is not installed.
        sys.modules[C_PARSER] = None  # type: ignore[assignment]
    package = _Package(url, name, Path(workload))
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        answer = await getattr(package, request.pop("do"))(**request)
        print(json.dumps(answer), flush=True)
    await package.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
