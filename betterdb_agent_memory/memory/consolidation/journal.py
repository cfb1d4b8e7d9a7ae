"""What a consolidation is about to delete, written down first, so that a crash in between is repaired.

A product is written before its sources are deleted. The journal, a map in the store, names for each
product the sources and what they looked like; it is written before the product. Whoever consolidates
next, alone under the lease, finishes the deletions of products that are there and forgets those that
never came to be. Fields are `{product}:{n}`, each with up to 1,000 sources.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from betterdb_agent_memory.engines.base import Fence, Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.memory.changes.cause import because, present_cause
from betterdb_agent_memory.memory.record import CONTENT, CREATED_AT, SCOPE_FIELDS, VERSION

DIGEST_FIELDS = (CONTENT, VERSION, CREATED_AT, *SCOPE_FIELDS)
PAGE = 1_000
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Source(NamedTuple):
    """A memory that goes into a product, and the digest of what it said then."""

    id: str
    digest: str


def digest(fields: Fields) -> str:
    """What tells whether a memory is the one it was, and says the same: 128 bits of its content, its version (which a
    change of expiry raises, too), its creation and its exact scope.

    Recalling a memory leaves it as it is. A digest of content and version alone, as earlier journals have it, matches
    nothing: the sources that such a run was about to delete stay.
    """
    whole = hashlib.sha256()
    for name in DIGEST_FIELDS:
        value = fields.get(name, b"1" if name == VERSION else b"")
        whole.update(b"%d:" % len(value) + value)
    return whole.hexdigest()[:32]


async def delete_unchanged(records: Records, sources: Sequence[Source], fence: Fence) -> list[str]:
    """Delete the sources that still are what they were; their ids. Two round trips.

    One that was changed meanwhile stays, also when that happens between the two.

    Raises:
        LeaseLostError: somebody else has the lease of `fence` by then.
    """
    found = await records.read_many([source.id for source in sources], DIGEST_FIELDS)
    same = [
        (source.id, fields)
        for source, fields in zip(sources, found, strict=True)
        if fields is not None and digest(fields) == source.digest
    ]
    if not same:
        return []
    expected = [{name: fields.get(name) for name in DIGEST_FIELDS} for _, fields in same]
    with because(present_cause().kind or "consolidated"):
        deleted = await records.delete_many([id for id, _ in same], expected=expected, fence=fence)
    return [id for (id, _), was_there in zip(same, deleted, strict=True) if was_there]


class Journal:
    """The deletions of one store that products stand for.

    `check` is called before each page of deletions, and raises when the lease is gone; what gets past it is refused
    by the `fence` once somebody else has the lease. `on_deleted` is told which memories each page deleted. The
    journal's own entries need no fence: each belongs to one product, whose id nobody else ever uses.
    """

    def __init__(
        self,
        values: Values,
        records: Records,
        key: str,
        *,
        check: Callable[[], None],
        fence: Fence,
        on_deleted: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._values = values
        self._records = records
        self._key = key
        self._check = check
        self._fence = fence
        self._on_deleted = on_deleted
        self._noted: dict[str, list[Source]] = {}

    async def note(self, sources_of: Mapping[str, Sequence[Source]]) -> None:
        """Write down which sources may go once their product is there. One round trip per 1,000."""
        entries = {
            f"{product}:{number}": page
            for product, sources in sources_of.items()
            for number, page in enumerate(pages(sources))
        }
        for group in _grouped(entries):
            await self._values.write_map(self._key, {name: _encode(group[name]) for name in group})
            self._noted |= group

    async def finish(self, report: Callable[[int], None]) -> int:
        """Delete what was noted in this run; how many memories. Three round trips per 1,000, each reported."""
        noted, self._noted = self._noted, {}
        return await self._settle(noted, report)

    async def drop(self) -> None:
        """Forget what was noted in this run: its product is not there, so nothing goes. One round trip."""
        noted, self._noted = self._noted, {}
        if noted:
            await self._values.remove_fields(self._key, list(noted))

    async def repair(self) -> int:
        """Finish what others left behind; how many memories that deleted. One round trip when nothing was."""
        left = await self._values.read_map(self._key)
        deleted = 0
        for page in pages(list(left.items())):
            products = list(dict.fromkeys(_product(name) for name, _ in page))
            found = await self._records.read_many(products, (CONTENT,))
            there = {product for product, fields in zip(products, found, strict=True) if fields is not None}
            void = [name for name, _ in page if _product(name) not in there]
            if void:
                self._check()
                await self._values.remove_fields(self._key, void)
            deleted += await self._settle(
                {name: self._decode(name, entry) for name, entry in page if _product(name) in there}
            )
        if left:
            _log.warning(
                "an interrupted consolidation left %d entries in %s: finished, %d memories deleted",
                len(left),
                self._key,
                deleted,
            )
        return deleted

    async def _settle(self, entries: Mapping[str, list[Source]], report: Callable[[int], None] | None = None) -> int:
        deleted = 0
        for group in _grouped(entries):
            self._check()
            gone = await delete_unchanged(
                self._records, [source for page in group.values() for source in page], self._fence
            )
            await self._on_deleted(gone)
            deleted += len(gone)
            await self._values.remove_fields(self._key, list(group))
            if report is not None:
                report(deleted)
        return deleted

    def _decode(self, name: str, entry: bytes) -> list[Source]:
        try:
            return [Source(str(id), str(seen)) for id, seen in json.loads(entry)]
        except (TypeError, ValueError):
            _log.warning("entry %s of %s cannot be read and is dropped; its memories stay", name, self._key)
            return []


def _grouped(entries: Mapping[str, list[Source]]) -> Iterator[dict[str, list[Source]]]:
    """Entries in groups of at most `PAGE` sources."""
    group: dict[str, list[Source]] = {}
    size = 0
    for name, sources in entries.items():
        if group and size + len(sources) > PAGE:
            yield group
            group, size = {}, 0
        group[name] = sources
        size += len(sources)
    if group:
        yield group


def _product(name: str) -> str:
    return name.partition(":")[0]


def pages(values: Sequence[_T], size: int = PAGE) -> Iterator[list[_T]]:
    """`values` in lists of at most `size`."""
    remaining = iter(values)
    while page := list(islice(remaining, size)):
        yield page


def _encode(sources: Sequence[Source]) -> bytes:
    return json.dumps(sources, separators=(",", ":")).encode()
