"""Asking an index that may be missing, incomplete, lost, or about to be another model's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import IndexMismatchError, IndexMissingError
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.spaces import VectorSpace

_T = TypeVar("_T")

Choice = Callable[[Layout], VectorSpace]

_EVERYTHING = Filter()


def recall_space(layout: Layout) -> VectorSpace:
    """Where recall searches."""
    return layout.recall


def lookup_space(layout: Layout) -> VectorSpace:
    """Where memories are found otherwise."""
    return layout.lookup


async def itself(space: VectorSpace) -> VectorSpace | None:
    """The space: a search that asks for nothing but where to search."""
    return space


class Searcher:
    """Finds the space to search in and answers from a complete index.

    `on_use` is told of each index found usable, `on_unindexed` of the fields that a question is about though its
    index does not have them.
    """

    def __init__(
        self,
        models: Models,
        *,
        on_use: Callable[[], None],
        on_unindexed: Callable[[Sequence[str]], None],
    ) -> None:
        self._models = models
        self._on_use = on_use
        self._on_unindexed = on_unindexed

    async def within(self, choose: Choice, search: Callable[[VectorSpace], Awaitable[_T]]) -> _T:
        """What `search` finds in the chosen space; once more where models were changed meanwhile."""
        layout = self._models.plain() or await self._models.layout(to_write=False)
        try:
            return await search(choose(layout))
        except (IndexMissingError, IndexMismatchError):
            again = await self._models.layout(look=True, to_write=False)
            if choose(again).index is choose(layout).index and choose(again).embedder is choose(layout).embedder:
                raise
        return await search(choose(again))

    async def lookup(
        self,
        search: Callable[[VectorSpace], Awaitable[_T]],
        nothing: _T,
        *,
        filter: Filter = _EVERYTHING,
        even_incomplete: bool = False,
    ) -> _T:
        """What `search` finds where memories are looked up; `nothing` before there is an index."""
        return await self.within(
            lookup_space,
            lambda space: self.ask(
                space,
                lambda: search(self._models.as_it_is(space) if even_incomplete else space),
                nothing,
                filter=filter,
                even_incomplete=even_incomplete,
            ),
        )

    async def ask(
        self,
        space: VectorSpace,
        search: Callable[[], Awaitable[_T]],
        nothing: _T,
        *,
        filter: Filter = _EVERYTHING,
        even_incomplete: bool = False,
    ) -> _T:
        """The search's answer, from a complete index; `nothing` while there is none and none can be made.

        An index that is missing is made if its dimension is known, a lost one is made again once. `filter` is
        what the search asks for, told for the sake of fields that the index lacks.
        """
        index, dimensions = space.index, space.embedder.dimensions
        known = dimensions or index.last_dimensions
        if await index.find(dimensions) is None:
            if known is None:
                return nothing
            await index.ensure(known)
        self._on_use()
        self._note_unindexed(space, filter)
        try:
            return await self._answer(space, search, even_incomplete)
        except IndexMissingError:
            await index.recreate()
            return await self._answer(space, search, even_incomplete)

    async def _answer(self, space: VectorSpace, search: Callable[[], Awaitable[_T]], even_incomplete: bool) -> _T:
        if not even_incomplete:
            await space.index.wait_complete()
        return await search()

    def _note_unindexed(self, space: VectorSpace, filter: Filter) -> None:
        if not space.index.unindexed or filter.required_ids is not None:  # those are read by key, without the index
            return
        if fields := [field for field in filter.field_names if field in space.index.unindexed]:
            self._on_unindexed(fields)
