"""`@agent.tool.cached(...)` for plain functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from betterdb_agent_memory.caches.cached import CacheTool
from betterdb_agent_memory.sync.bridge import as_async, call, wait

_P = ParamSpec("_P")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)


class SyncCachedFunction(Protocol[_P, _R_co]):
    """A function whose results are kept."""

    __name__: str

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """The result that is kept for these arguments, else what the function returns."""

    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Delete the result for these arguments; true when there was one. One round trip."""

    def cache_key(self, *args: _P.args, **kwargs: _P.kwargs) -> str:
        """The key under which the result for these arguments is kept. No round trip."""


class SyncCacheTool:
    """What `cached(...)` returns: it decorates one plain function, or several."""

    def __init__(self, decorator: CacheTool) -> None:
        self._decorator = decorator

    def __call__(self, function: Callable[_P, _R], /) -> SyncCachedFunction[_P, _R]:
        """The function, asking the cache first; on a miss it runs in a thread of its own."""
        plain = function
        if not inspect.iscoroutinefunction(function):
            plain = functools.wraps(function)(as_async(function))
        inner: Any = call(self._decorator, cast("Any", plain))

        @functools.wraps(function)
        def asking_first(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            return cast("_R", wait(inner(*args, **kwargs)))

        def invalidate(*args: _P.args, **kwargs: _P.kwargs) -> bool:
            return bool(wait(inner.invalidate(*args, **kwargs)))

        asking_first.__dict__.update(invalidate=invalidate, cache_key=inner.cache_key)
        return cast("SyncCachedFunction[_P, _R]", asking_first)
