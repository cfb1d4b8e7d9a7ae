"""Answers of language models, kept by the exact request: same keys and values as the TypeScript package."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from betterdb_agent_memory.caches.answers import ANYTHING, AnswerShelf, Found, Keeping, Request, encoded
from betterdb_agent_memory.caches.content import ContentBlock, LlmCacheParams
from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.entries import LlmEntry
from betterdb_agent_memory.caches.keys import is_large
from betterdb_agent_memory.caches.operations import Check
from betterdb_agent_memory.caches.pricing import Prices, cost_micros
from betterdb_agent_memory.caches.results import (
    LlmAnswer,
    LlmCacheResult,
    LlmStoreOptions,
    checked_blocks,
    checked_options,
)
from betterdb_agent_memory.caches.single_flight import (
    LEASE_SECONDS,
    WAIT_SECONDS,
    Patience,
    RefreshPauses,
    SingleFlight,
)
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.errors import AuthenticationFailedError, ConfigurationError, EngineError, InvalidInputError

KeyChoice: TypeAlias = Literal["shared", "complete"]
"""What enters the key of a request: what the published packages put in, or every parameter."""

Call: TypeAlias = Callable[[], Awaitable[str | Sequence[ContentBlock] | LlmAnswer]]
"""The paid call: an async function without arguments that returns a text, blocks, or an `LlmAnswer`."""

StoreOptions: TypeAlias = LlmStoreOptions | Mapping[str, Any] | None

CLOSE_SECONDS = 30.0
"""How long `close` waits for calls in the background."""

LlmParams: TypeAlias = LlmCacheParams | Mapping[str, Any]
"""A request: see `LlmCacheParams` for the members; a dataclass or pydantic model with them will do as well."""

_log = logging.getLogger(__name__)


class LlmCache:
    """Answers by request: `agent.llm`. Built by `AgentMemory` and `AgentCache`.

    `ttl_seconds` is the default, None for answers that never expire. `key` says what makes two requests the
    same: `"shared"` compares what the published packages compare, which leaves some parameters out (a
    warning names each once, a metric counts them); `"complete"` compares all, and shares hits only with
    workers that do so too.
    """

    def __init__(
        self,
        name: str,
        *,
        engine: Engine,
        watch: CacheWatch,
        deferred: DeferredWrites,
        ttl_seconds: int | None,
        prices: Prices,
        clock: Clock,
        key: KeyChoice = "shared",
    ) -> None:
        if key not in ("shared", "complete"):
            raise ConfigurationError(f'key must be "shared" or "complete", got {key!r:.80}')
        self._name = name
        self._watch = watch
        self._deferred = deferred
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._key = key
        self._shelf = AnswerShelf(name, values=engine.values, watch=watch, prices=prices, clock=clock)
        self._flights: SingleFlight[Found] = SingleFlight(engine.leases, watch)
        self._pauses = RefreshPauses(engine.values)
        self._refreshing: set[asyncio.Task[None]] = set()
        self._warned_of: set[str] = set()
        self._is_reachable = True

    async def check(self, params: LlmParams, *, key: KeyChoice | None = None) -> LlmCacheResult:
        """The answer that is kept for a request, or a miss.

        One round trip; two where what is kept cannot be read, which is a miss and is deleted. Looks under
        the key of the published Python package as well, where that differs. Statistics follow within a second.

        Raises:
            InvalidInputError: `params` cannot be a request.
            EngineError: the cache could not be asked.
        """
        found = await self._check(await self._request(params, key), ANYTHING)
        return LlmCacheResult(hit=False) if found is None else found.result(self._clock())

    async def store(
        self, params: LlmParams, response: str, options: StoreOptions = None, *, key: KeyChoice | None = None
    ) -> str:
        """Keep a text as the answer to a request; the key it is kept under. One round trip.

        `options` are an `LlmStoreOptions`, or a mapping with its fields `ttl` and `tokens`.

        Raises:
            InvalidInputError: something cannot be kept as given; nothing was written.
            EngineError: the cache could not be written.
        """
        if not isinstance(response, str):
            raise InvalidInputError(f"response must be a text, got {response!r:.80}; blocks go to store_multipart")
        given = checked_options(options, LlmStoreOptions)
        return await self._store(params, LlmAnswer(response=response, tokens=given.tokens, ttl=given.ttl), key)

    async def store_multipart(
        self,
        params: LlmParams,
        blocks: Sequence[ContentBlock],
        options: StoreOptions = None,
        *,
        key: KeyChoice | None = None,
    ) -> str:
        """Keep blocks as the answer to a request, as `store` does a text; `response` is the text in them.

        Raises:
            InvalidInputError: something cannot be kept as given; nothing was written.
            EngineError: the cache could not be written.
        """
        given = checked_options(options, LlmStoreOptions)
        answer = LlmAnswer(content_blocks=checked_blocks(blocks), tokens=given.tokens, ttl=given.ttl)
        return await self._store(params, answer, key)

    async def get_or_call(
        self,
        params: LlmParams,
        call: Call,
        *,
        ttl: int | None = None,
        stale_seconds: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
        key: KeyChoice | None = None,
    ) -> LlmCacheResult:
        """The answer that is kept, or what `call` answers, which is then kept: one call per request at a time.

        Of all workers that miss, one calls and the others wait for its answer, in this process and in others.
        One that dies is replaced within a second after `lease_seconds`; who has waited `wait_seconds` for another's
        call makes its own. An error of `call` is raised here and to those who wait in this process, and
        nothing is kept; in other processes the next one calls.

        With `stale_seconds` an answer is kept that much longer than its TTL, which must be set then, here or
        as the default. One that is older than its TTL is handed out at once, and one worker fetches a new one
        in the background; `close` waits for that. After an attempt that brought nothing the next one waits, for
        1 s at first and 60 s at most.

        `origin` of the result says where the answer came from. When the cache cannot be reached `call` is
        made all the same, once per process, and counted as a background failure; only a refused password is an
        error. A hit is one round trip, a miss five.

        Raises:
            InvalidInputError: an argument, or what `call` returned, cannot be kept.
            AuthenticationFailedError: the server refuses this client.
        """
        if not callable(call):
            raise InvalidInputError(f"call must be an async function without arguments, got {call!r:.80}")
        patience = Patience(lease_seconds, wait_seconds)
        keeping = Keeping.checked(ttl, stale_seconds, self._ttl_seconds)
        request = await self._request(params, key)
        look = partial(self._look, request, keeping)
        work = partial(self._call, request, call, keeping)
        try:
            found = await self._check(request, keeping)
            self._is_reachable = True
        except AuthenticationFailedError:
            raise
        except EngineError as error:
            self._unreachable(error)
            found = None
        if found is None:
            found = await self._fly(request, look, work, patience)
        elif found.origin == "stale":
            self._refresh_soon(request, look, work, patience)
        return found.result(self._clock())

    async def invalidate_by_model(self, model: str) -> int:
        """Delete the answers of one model, by its exact name; how many there were.

        Looks at every key of a server: one round trip per 1,000 keys, and 4 per 1,000 answers. What is stored
        anew meanwhile stays, and so does what cannot be read.
        """
        if not isinstance(model, str):
            raise InvalidInputError(f"model must be a text, got {model!r:.80}")
        with self._watch.llm_invalidate_by_model(model) as operation:
            deleted = await self._shelf.delete_model(model)
            operation.count(deleted)
        return deleted

    async def clear(self) -> int:
        """Delete all answers of this cache and nothing else; how many there were.

        Looks at every key of a server: one round trip per 1,000 keys, and 2 per 1,000 answers. A call that is
        under way goes on, and its answer is kept.
        """
        with self._watch.llm_clear() as operation:
            deleted = await self._shelf.delete_all()
            operation.count(deleted)
        return deleted

    async def close(self) -> None:
        """Wait for answers that are being refreshed, 30 s at most; what takes longer is cancelled."""
        loop = asyncio.get_running_loop()
        running = {task for task in self._refreshing if task.get_loop() is loop}
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=CLOSE_SECONDS)
        if late:
            for task in late:
                task.cancel()
            await asyncio.wait(late)
            _log.warning("%d answers of cache %s were still being refreshed at close", len(late), self._name)

    async def _request(self, params: LlmParams, key: KeyChoice | None) -> Request:
        if key not in (None, "shared", "complete"):
            raise InvalidInputError(f'key must be "shared" or "complete", got {key!r:.80}')
        derived = partial(Request.of, self._name, params, complete=(key or self._key) == "complete")
        request = await asyncio.to_thread(derived) if is_large(params) else derived()
        if request.ignored:
            self._watch.ignored_parameters(request.ignored)
            self._warn_of(request.ignored)
        return request

    async def _check(self, request: Request, keeping: Keeping) -> Found | None:
        """Look the request up, and count that."""
        with self._watch.llm_check(request.key.shared, request.model) as seen:
            found, corrupt = await self._shelf.find(request.key, keeping)
            if found is not None:
                self._count_hit(seen, found.entry)
                return found
            if corrupt:
                seen.corrupt()
            else:
                seen.miss()
        self._deferred.count("llm:misses")
        return None

    async def _store(self, params: LlmParams, answer: LlmAnswer, key: KeyChoice | None) -> str:
        request = await self._request(params, key)
        keeping = Keeping(self._ttl_seconds if answer.ttl is None else answer.ttl)
        await self._shelf.write(request.key.shared, await self._shelf.entry(request.model, answer), keeping)
        return request.key.shared

    async def _fly(
        self,
        request: Request,
        look: Callable[[], Awaitable[Found | None]],
        work: Callable[[], Awaitable[Found]],
        patience: Patience,
    ) -> Found:
        shared = await self._flights.run(request.flight_key, look=look, work=work, patience=patience)
        if not shared.by_another:
            return shared.value
        # What was a miss when it was looked up first is a hit now that it is there.
        found = shared.value.again("shared")
        with self._watch.llm_check(request.key.shared, request.model) as seen:
            self._count_hit(seen, found.entry)
        return found

    async def _look(self, request: Request, keeping: Keeping) -> Found | None:
        """What somebody may just have stored: nothing that is stale."""
        found, _ = await self._shelf.find(request.key, keeping)
        return None if found is None or found.origin == "stale" else found

    async def _call(self, request: Request, call: Call, keeping: Keeping) -> Found:
        """Call, and keep the answer. One that cannot be written is handed out all the same: it was paid for."""
        key = request.key.shared
        returned = call()
        if not inspect.isawaitable(returned):
            raise InvalidInputError(f"call must be an async function without arguments, it returned {returned!r:.80}")
        answer = _checked_answer(await returned)
        entry = await self._shelf.entry(request.model, answer)
        if answer.ttl is not None:
            keeping = Keeping(answer.ttl, keeping.stale_seconds)
        # What is handed out has gone through JSON, as what will be found later has.
        found = Found(key, await encoded(entry), entry, "call").again("call")
        if not answer.store:
            return found._replace(is_kept=False)
        try:
            await self._shelf.write(key, entry, keeping)
        except EngineError as error:
            self._failed("llm_store", request, error)
            return found._replace(is_kept=False)
        await self._pauses.end(request.flight_key)
        return found

    def _refresh_soon(
        self,
        request: Request,
        look: Callable[[], Awaitable[Found | None]],
        work: Callable[[], Awaitable[Found]],
        patience: Patience,
    ) -> None:
        key = request.flight_key
        if not self._pauses.is_over(key):
            return

        async def attempt() -> Found:
            try:
                found = await work()
            except Exception:
                await self._pauses.begin(key)
                raise
            if not found.is_kept:
                await self._pauses.begin(key)
            return found

        async def refresh() -> None:
            may_work = partial(self._pauses.is_over_everywhere, key)
            try:
                await self._flights.refresh(key, look=look, work=attempt, patience=patience, may_work=may_work)
            except Exception as error:  # noqa: BLE001 - whatever the caller's own function raises
                self._failed("refresh", request, error)

        task = asyncio.get_running_loop().create_task(refresh())
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    def _count_hit(self, seen: Check, entry: LlmEntry) -> None:
        tokens = entry.tokens or {}
        seen.hit(cost_saved=entry.cost, input_tokens=tokens.get("input", 0), output_tokens=tokens.get("output", 0))
        seen.content(entry.response or "")
        self._deferred.count("llm:hits")
        if entry.cost is not None:
            self._deferred.count("cost_saved_micros", cost_micros(entry.cost))

    def _failed(self, work: str, request: Request, error: Exception) -> None:
        self._watch.background_failed(work)
        _log.warning("%s of %s failed, going on without: %s", work, request.key.shared, error)

    def _unreachable(self, error: EngineError) -> None:
        self._watch.background_failed("llm_check")
        if self._is_reachable:
            self._is_reachable = False
            _log.warning(
                "cache %s cannot be asked, calls are made without it until it can (said once): %s", self._name, error
            )

    def _warn_of(self, ignored: Sequence[str]) -> None:
        new = sorted(set(ignored) - self._warned_of)
        if new:
            self._warned_of.update(new)
            _log.warning(
                "the key of cache %s leaves out %s, as the published packages do: two requests that differ only in "
                'that share an answer. key="complete" compares all parameters. This is said once for each.',
                self._name,
                ", ".join(new),
            )


def _checked_answer(returned: object) -> LlmAnswer:
    if isinstance(returned, LlmAnswer):
        return returned
    if isinstance(returned, str):
        return LlmAnswer(response=returned)
    return LlmAnswer(content_blocks=checked_blocks(returned))
