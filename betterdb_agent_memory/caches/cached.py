"""Async functions that ask the tool cache first: `@agent.tool.cached(...)`."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import CellType, SimpleNamespace
from typing import (
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    get_type_hints,
    overload,
)

from betterdb_agent_memory.caches.canonical import json_value
from betterdb_agent_memory.caches.keys import CacheKey
from betterdb_agent_memory.caches.results import ToolStoreOptions
from betterdb_agent_memory.caches.single_flight import Patience, SingleFlight
from betterdb_agent_memory.caches.text_codec import (
    UNANNOTATED,
    TextCodec,
    UnencodableError,
    codec_for,
    codec_of,
    same_value,
)
from betterdb_agent_memory.caches.tool_names import checked_tool_name
from betterdb_agent_memory.caches.tool_results import ToolResults
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.base import Leases
from betterdb_agent_memory.errors import (
    AuthenticationFailedError,
    ConfigurationError,
    EngineError,
    InvalidInputError,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_Q = ParamSpec("_Q")
_S = TypeVar("_S")
_S_contra = TypeVar("_S_contra", contravariant=True)

_log = logging.getLogger(__name__)


class CachedFunction(Protocol[_P, _R_co]):
    """An async function whose results are kept."""

    __name__: str

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _R_co]:
        """The result that is kept for these arguments, else what the function returns."""

    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, bool]:
        """Delete the result for these arguments; true when there was one. One round trip."""

    def cache_key(self, *args: _P.args, **kwargs: _P.kwargs) -> str:
        """The key under which the result for these arguments is kept. No round trip."""

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[_S, _Q], _R], instance: _S, owner: type | None = None, /
    ) -> CachedMethod[_S, _Q, _R]: ...


class CachedMethod(Protocol[_S_contra, _P, _R_co]):
    """A `CachedFunction` called through an object; the other two take the object as their first argument."""

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _R_co]:
        """The result that is kept for these arguments, else what the method returns."""

    def invalidate(self, instance: _S_contra, /, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, bool]:
        """Delete the result for these arguments; true when there was one. One round trip."""

    def cache_key(self, instance: _S_contra, /, *args: _P.args, **kwargs: _P.kwargs) -> str:
        """The key under which the result for these arguments is kept. No round trip."""


class CacheTool(Protocol):
    """What `cached(...)` returns: it decorates one function, or several."""

    def __call__(self, function: Callable[_P, Coroutine[Any, Any, _R]], /) -> CachedFunction[_P, _R]:
        """The function, asking the cache first."""


@dataclass(frozen=True, slots=True)
class FunctionOptions:
    """How the results of a function are kept; what the members mean is said by `ToolCache.cached`."""

    store: ToolStoreOptions
    name: str | None
    key: Callable[..., Any] | None
    skip: frozenset[str]
    encode: Callable[[Any], str] | None
    decode: Callable[[str], Any] | None
    patience: Patience | None


@dataclass(frozen=True, slots=True)
class _Made(Generic[_R]):
    """What a call came to: its result, and the text it is kept as.

    For one that cannot be kept the text is None, and `copied` what others who wait get copies of.
    """

    value: _R
    text: str | None
    cost: float | None
    copied: _R | None = None


class _Origin(NamedTuple):
    """Where a function was defined, and what it holds that its arguments do not say.

    A function of a module is replaced when its module is loaded again. One that is defined within a function
    is another one each time, unless it runs the same with the same values.
    """

    place: str
    code: object
    held: tuple[object, ...]

    def is_same(self, other: _Origin) -> bool:
        if (self.place, self.code) != (other.place, other.code):
            return False
        try:
            return same_value(self.held, other.held)
        except Exception:  # noqa: BLE001 - `==` of a caller's own class, or of an array
            return False


class FunctionCache:
    """Makes decorators over the results of one tool cache."""

    def __init__(self, results: ToolResults, *, leases: Leases, watch: CacheWatch) -> None:
        self._results = results
        self._flights: SingleFlight[_Made[Any]] = SingleFlight(leases, watch)
        self._origins: dict[str, _Origin] = {}

    def decorator(self, options: FunctionOptions) -> CacheTool:
        """A decorator; see `ToolCache.cached`."""
        if (options.encode is None) != (options.decode is None):
            raise ConfigurationError("encode= and decode= belong together: give both or neither")
        if options.key is not None and options.skip:
            raise ConfigurationError("key= says all about the arguments that are compared: leave skip= out")

        def decorate(function: Callable[_P, Coroutine[Any, Any, _R]], /) -> CachedFunction[_P, _R]:
            tool = _tool_of(function, options)
            asking = _AskingFirst(function, tool, options, self._results, self._flights)
            self._claim(tool, _origin(function, options), options)

            @functools.wraps(function)
            async def asking_first(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                return await asking.call(*args, **kwargs)

            asking_first.__dict__.update(invalidate=asking.invalidate, cache_key=asking.cache_key)
            return cast("CachedFunction[_P, _R]", asking_first)

        return decorate

    def _claim(self, tool: str, origin: _Origin, options: FunctionOptions) -> None:
        """Take the tool's name for a function.

        Raises:
            ConfigurationError: another function took it, and this one was not given it by `name`.
        """
        other = self._origins.setdefault(tool, origin)
        if options.name is not None or origin.is_same(other):
            return
        if origin.place == other.place:
            raise ConfigurationError(
                f"two functions {origin.place} that hold different values, or do different things, would share their "
                f"results under the tool name {tool!r}; give each a name= of its own, or the same one to share"
            )
        raise ConfigurationError(
            f"{origin.place} and {other.place} would share their results under the tool name {tool!r}; give one of "
            "them a name="
        )


def _tool_of(function: Callable[..., Any], options: FunctionOptions) -> str:
    name = getattr(function, "__name__", None) if options.name is None else options.name
    try:
        return checked_tool_name(name)
    except InvalidInputError as error:
        raise ConfigurationError(f"{function!r:.80} needs another name=: {error}") from error


def _origin(function: Callable[..., Any], options: FunctionOptions) -> _Origin:
    place = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    # Not the decorators around it: they hold the function itself.
    function = inspect.unwrap(function)
    held = [getattr(function, "__self__", None)]
    if "<locals>" not in place:
        return _Origin(place, None, tuple(held))
    code = getattr(function, "__code__", None)
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True) if code is not None else ()
    held += [_content(cell) for name, cell in cells if name != function.__name__]
    # Defaults of all other parameters are compared with each call.
    parameters = inspect.signature(function).parameters.values()
    held += [each.default for each in parameters if options.key is not None or each.name in options.skip]
    return _Origin(place, code, tuple(held))


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is in there yet
        return None


class _AskingFirst(Generic[_P, _R]):
    """One decorated function."""

    def __init__(
        self,
        function: Callable[_P, Awaitable[_R]],
        tool: str,
        options: FunctionOptions,
        results: ToolResults,
        flights: SingleFlight[_Made[Any]],
    ) -> None:
        if isinstance(function, functools.partial):
            raise ConfigurationError(
                f"what the partial function {tool} fixes would not be compared: decorate the function itself, and make "
                "the partial one of the decorated"
            )
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"{tool} is no async function and cannot be cached as one: make it `async def` (a blocking one may "
                "`return await asyncio.to_thread(...)` there), and let it return what it would yield"
            )
        self._function = function
        self._tool = tool
        self._options = options
        self._results = results
        self._flights = flights
        self._signature = inspect.signature(function)
        self._warned = False
        self._codec: TextCodec[_R] | None = None
        unknown = options.skip - self._signature.parameters.keys()
        if unknown:
            raise ConfigurationError(f"skip= names {', '.join(sorted(unknown))}, which {tool} has no parameter for")
        try:
            self._codec = self._make_codec()
        except NameError:
            # A type that is defined further down in the module; it is looked up again in the first call.
            self._codec = None

    async def call(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """The result that is kept, or a new one."""
        arguments = self._arguments(*args, **kwargs)
        key = self._results.key(self._tool, arguments)
        codec = self._text_codec()

        async def made() -> _Made[_R]:
            return await self._keep(key, arguments, codec, await self._function(*args, **kwargs))

        try:
            found = await self._results.check(self._tool, key, codec.decode)
        except AuthenticationFailedError:
            raise
        except EngineError as error:
            self._results.failed("tool_check", key.shared, error)
            found = None
        if found is not None:
            return found.value
        if self._options.patience is None:
            return (await made()).value
        return await self._with_others(key, codec, made, self._options.patience)

    async def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Delete the result for these arguments."""
        return await self._results.delete(self._results.key(self._tool, self._arguments(*args, **kwargs)))

    def cache_key(self, *args: _P.args, **kwargs: _P.kwargs) -> str:
        """The key for these arguments."""
        return self._results.key(self._tool, self._arguments(*args, **kwargs)).shared

    def _arguments(self, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        """What is compared, as JSON: taken before the call, which may change its arguments."""
        if self._options.key is not None:
            given = self._options.key(*args, **kwargs)
        else:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = {name: value for name, value in bound.arguments.items() if self._is_compared(name, value)}
        try:
            return json_value(given)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"the arguments of {self._tool} have no key: {error}; leave a parameter out with skip=, or say with "
                "key= what makes two calls the same"
            ) from error

    def _is_compared(self, name: str, value: object) -> bool:
        kind = self._signature.parameters[name].kind
        is_rest = kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return name not in self._options.skip and not (is_rest and not value)

    async def _with_others(
        self, key: CacheKey, codec: TextCodec[_R], made: Callable[[], Awaitable[_Made[_R]]], patience: Patience
    ) -> _R:
        async def look() -> _Made[_R] | None:
            found, _ = await self._results.find(key, codec.decode)
            return None if found is None else _Made(found.value, found.entry.response, found.entry.cost)

        flight_key = self._results.flight_key(self._tool, key)
        shared = await self._flights.run(flight_key, look=look, work=made, patience=patience)
        outcome: _Made[_R] = shared.value
        if not shared.by_another:
            return outcome.value
        self._results.count_shared(self._tool, key, outcome.cost)
        # Made anew for everyone, so that none changes another's.
        return cast("_R", _copy(outcome.copied)) if outcome.text is None else codec.decode(outcome.text)

    async def _keep(self, key: CacheKey, arguments: Any, codec: TextCodec[_R], value: _R) -> _Made[_R]:
        """Store a result. One that cannot be stored is handed out all the same: it was worked for."""
        cost = self._options.store.cost
        try:
            text = codec.encode(value)
        except UnencodableError as error:
            self._warn(error)
            # Now, before the caller who made it changes it.
            return _Made(value, None, cost, None if self._options.patience is None else _copy(value))
        try:
            await self._results.store(self._tool, key, arguments, text, self._options.store)
        except EngineError as error:
            self._results.failed("tool_store", key.shared, error)
        return _Made(value, text, cost)

    def _warn(self, error: UnencodableError) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "a result of %s was not kept: %s; annotate what the function returns, or give encode= and decode=. "
                "This is said once for each function.",
                self._tool,
                error,
            )

    def _text_codec(self) -> TextCodec[_R]:
        if self._codec is None:
            try:
                self._codec = self._make_codec()
            except NameError as error:
                raise ConfigurationError(
                    f"the return annotation of {self._tool} names a type that is not there when it runs ({error}); "
                    "import or define it at the module's top, or give encode= and decode="
                ) from error
        return self._codec

    def _make_codec(self) -> TextCodec[_R]:
        if self._options.encode is not None and self._options.decode is not None:
            return codec_of(self._options.encode, self._options.decode)
        stated = self._signature.return_annotation
        if stated is inspect.Signature.empty:
            return codec_for(UNANNOTATED)
        names = getattr(inspect.unwrap(self._function), "__globals__", {})
        # The return annotation alone: those of the parameters may be there for type checkers only.
        alone = SimpleNamespace(__annotations__={"return": stated})
        return codec_for(get_type_hints(alone, globalns=names, include_extras=True)["return"])


def _copy(value: _R) -> _R:
    """A copy, or the very same where there is none: of a connection, an iterator."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever the caller's class raises
        return value
