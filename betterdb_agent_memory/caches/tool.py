"""The tool cache: what a tool answered to the same arguments before. Keys and values as the TypeScript package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from betterdb_agent_memory.caches.cached import CacheTool, FunctionCache, FunctionOptions
from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.policies import ToolPolicies, ToolPolicy
from betterdb_agent_memory.caches.results import ToolCacheResult, ToolStoreOptions, checked_options
from betterdb_agent_memory.caches.single_flight import Patience
from betterdb_agent_memory.caches.tool_results import ToolResults
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.errors import InvalidInputError


class ToolCache:
    """Results by tool and arguments. Built by `AgentMemory` and `AgentCache`; `agent.tool`.

    `ttl_seconds` is the default, None for results that never expire; a tool's policy goes before it. A
    tool's name has no colon.
    """

    def __init__(
        self,
        name: str,
        *,
        engine: Engine,
        watch: CacheWatch,
        deferred: DeferredWrites,
        policies: ToolPolicies,
        ttl_seconds: int | None,
        clock: Clock,
    ) -> None:
        self._watch = watch
        self._policies = policies
        self._results = ToolResults(
            name,
            values=engine.values,
            watch=watch,
            deferred=deferred,
            policies=policies,
            ttl_seconds=ttl_seconds,
            clock=clock,
        )
        self._functions = FunctionCache(self._results, leases=engine.leases, watch=watch)

    async def check(self, tool_name: str, args: Any) -> ToolCacheResult:
        """The result that is kept for a call, or a miss.

        One round trip; two where what is kept cannot be read, which is a miss and is deleted. Looks under
        the key of the published Python package as well, where that differs. Statistics follow within a second.

        Raises:
            InvalidInputError: the name has a colon, or the arguments have no JSON form.
            EngineError: the cache could not be asked.
        """
        found = await self._results.check(tool_name, self._results.key(tool_name, args), str)
        if found is None:
            return ToolCacheResult(hit=False, tool_name=tool_name)
        return found.entry.result(found.key, tool_name)

    async def store(
        self,
        tool_name: str,
        args: Any,
        response: str,
        options: ToolStoreOptions | Mapping[str, Any] | None = None,
    ) -> str:
        """Keep a text as the result of a call; the key it is kept under. One round trip.

        `options` are `ttl`, in seconds, and `cost`, the dollars that a hit saves. Without a TTL the tool's
        policy holds, else the default; the first such result of a process waits until the policies were read,
        two seconds at most.

        Raises:
            InvalidInputError: something cannot be kept as given; nothing was written.
            EngineError: the cache could not be written.
        """
        if not isinstance(response, str):
            raise InvalidInputError(
                f"response must be a text, got {response!r:.80}; give json.dumps(...) of it, or let @cached do so"
            )
        key = self._results.key(tool_name, args)
        return await self._results.store(tool_name, key, args, response, checked_options(options, ToolStoreOptions))

    def cached(
        self,
        *,
        ttl: int | None = None,
        name: str | None = None,
        key: Callable[..., Any] | None = None,
        skip: Iterable[str] = (),
        cost: float | None = None,
        encode: Callable[[Any], str] | None = None,
        decode: Callable[[str], Any] | None = None,
        single_flight: bool | Patience = False,
    ) -> CacheTool:
        """A decorator for async functions: a call with the same arguments is answered from the cache.

        The tool's name is the function's, unless `name` says another. The arguments that are compared are
        those of the call by parameter name, with defaults filled in, whether given by position or by name;
        without the parameters in `skip` (`self`, clients, loggers), or instead what `key` makes of them.
        `ttl` and `cost` are those of `store`.

        A function that returns `str` has its text kept as it is; any other result is kept as JSON and
        validated by the return annotation when it is given back, or goes through `encode` and `decode`. A
        result that would not come back equal is handed out and not kept, and a warning says so once.

        With `single_flight` one worker calls and the others wait for its result, as `get_or_call` does for
        models; a `Patience` says for how long. Exceptions are not kept. When the cache cannot be reached, the
        function is called all the same, and that is counted as a background failure; only a refused password
        is an error. A hit is one round trip, a miss two, with `single_flight` five.

        The decorated function has `invalidate(...)` and `cache_key(...)`, with its own parameters.

        Raises:
            ConfigurationError: the function is not async, or an argument does not fit it.
            InvalidInputError: `ttl` or `cost` cannot be used; later, in a call, arguments without a JSON form.
        """
        return self._functions.decorator(
            FunctionOptions(
                store=ToolStoreOptions(ttl=ttl, cost=cost),
                name=name,
                key=key,
                skip=frozenset([skip] if isinstance(skip, str) else skip),
                encode=encode,
                decode=decode,
                patience=single_flight
                if isinstance(single_flight, Patience)
                else Patience()
                if single_flight
                else None,
            )
        )

    async def set_policy(self, tool_name: str, policy: ToolPolicy) -> None:
        """Let results of a tool be kept for `policy.ttl` seconds from now on, by all workers. One round trip.

        Written, then applied here; other workers follow within their interval. What is kept already keeps
        its expiry.

        Raises:
            InvalidInputError: the name or the TTL cannot be used; nothing was written.
            EngineError: it was not written, or, for an OutcomeUnknownError, perhaps; the next read says.
        """
        await self._policies.set(tool_name, policy)

    async def remove_policy(self, tool_name: str) -> bool:
        """Let the default hold for a tool again; true when it had a policy. One round trip."""
        return await self._policies.remove(tool_name)

    def get_policy(self, tool_name: str) -> ToolPolicy | None:
        """The policy of a tool that is in force here, or None. No round trip."""
        return self._policies.current.get(tool_name)

    def list_policy_names(self) -> list[str]:
        """The tools that have a policy here. No round trip."""
        return list(self._policies.current)

    async def invalidate(self, tool_name: str, args: Any) -> bool:
        """Delete the result of a call, under both spellings of its key; true when there was one. One round trip."""
        if _has_no_results(tool_name):
            return False
        return await self._results.delete(self._results.key(tool_name, args))

    async def invalidate_by_tool(self, tool_name: str) -> int:
        """Delete all results of a tool, and nothing of a tool whose name begins the same; how many there were.

        One that is stored anew meanwhile may go as well. Looks at every key of a server: about two round
        trips per 1,000.
        """
        with self._watch.tool_invalidate_by_tool(tool_name) as operation:
            deleted = 0 if _has_no_results(tool_name) else await self._results.delete_all(tool_name)
            operation.count(deleted)
        return deleted

    async def refresh_policies(self) -> bool:
        """Read the policies of all tools now, as one whole; false when that failed, which leaves them as they are.

        One round trip. Done in the background every 30 s.
        """
        return await self._policies.refresh()

    async def load_policies(self) -> None:
        """The same as `refresh_policies`, without saying how it went."""
        await self._policies.refresh()

    def reset_policies(self) -> None:
        """Forget the policies here, until the next read. No round trip."""
        self._policies.reset()


def _has_no_results(tool_name: object) -> bool:
    """Whether nothing can be kept under a name; published, such a name is no error where something is deleted."""
    return isinstance(tool_name, str) and ":" in tool_name
