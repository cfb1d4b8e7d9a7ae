"""Plain values beside the records: strings with an expiry, and maps of fields.

The small operations are collected in a `ValueBatch`, so that whatever a caller needs is one round
trip; the verbs of `Values` are batches of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import EngineError

_T_co = TypeVar("_T_co", covariant=True)


class Reply(Generic[_T_co]):
    """What one operation came to, once its batch was sent."""

    __slots__ = ("_outcome",)

    def __init__(self) -> None:
        self._outcome: Any = _NOT_SENT

    def settle(self, outcome: Any) -> None:
        """For engines: the value, or the error, that the operation ended with."""
        self._outcome = outcome

    def result(self) -> _T_co:
        """The value; an operation that failed raises its own error, the others of the batch have theirs."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        value: _T_co = self._outcome
        return value


_NOT_SENT: Final = EngineError("the batch was not sent yet")


@dataclass(frozen=True, slots=True)
class Stored:
    """A string and its expiry: ms since the epoch and ms left by the server's clock, None for never."""

    value: bytes
    expires_at_ms: int | None
    left_ms: int | None


@dataclass(frozen=True, slots=True)
class ExpiresAt:
    """What the expiry of a key must still be (ms since the epoch), None for never."""

    expires_at_ms: int | None


class ValueBatch(ABC):
    """Operations that are sent together: one round trip per 500, in the order in which they were added.

    Each is atomic, the batch as a whole is not; an operation that fails does not stop the others.
    A key holds a string or a map; reading one as the other fails.
    Nothing happens before `send`, which may be called once.
    """

    @abstractmethod
    def get(self, key: str) -> Reply[bytes | None]:
        """The string, or None."""

    @abstractmethod
    def get_with_expiry(self, key: str) -> Reply[Stored | None]:
        """The string and when it expires, or None."""

    @abstractmethod
    def set(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None, only_if_absent: bool = False
    ) -> Reply[bool]:
        """Store a string; false when `only_if_absent` and the key was there. Replaces a map."""

    @abstractmethod
    def exchange(self, key: str, value: bytes, *, ttl_seconds: int | None = None) -> Reply[bytes | None]:
        """Store a string; the one that was there before, or None."""

    @abstractmethod
    def delete(self, key: str, *, only_if: bytes | None = None) -> Reply[bool]:
        """Delete a string or a map, or only a string that still is `only_if`; true when it was there."""

    @abstractmethod
    def expire(self, key: str, ttl_seconds: int, *, only_if: ExpiresAt | None = None) -> Reply[bool]:
        """Let a string or map expire in `ttl_seconds`; false when it is gone or its expiry is no longer as said."""

    @abstractmethod
    def read_map(self, key: str) -> Reply[dict[str, bytes]]:
        """All fields of a map; empty when there is none."""

    @abstractmethod
    def read_fields(self, key: str, fields: Sequence[str]) -> Reply[dict[str, bytes]]:
        """Those of `fields` (at least one) that the map has."""

    @abstractmethod
    def write_map(self, key: str, fields: Fields, *, outlive_seconds: int | None = None) -> Reply[None]:
        """Set fields (at least one) of a map, leaving its others alone.

        With `outlive_seconds` a map that is new, or would expire earlier, expires then; without it, the
        expiry stays as it is (a new map has none).
        """

    @abstractmethod
    def add_field(self, key: str, field: str, value: bytes) -> Reply[bool]:
        """Set a field that the map does not have; false, and nothing is set, where it has."""

    @abstractmethod
    def persist(self, key: str) -> Reply[bool]:
        """Take the expiry of a string or map away; false when it has none or is not there."""

    @abstractmethod
    def remove_fields(self, key: str, fields: Sequence[str]) -> Reply[int]:
        """Remove fields (at least one) of a map; how many there were. An empty map is gone."""

    @abstractmethod
    def remove_field_if(self, key: str, field: str, value: bytes) -> Reply[bool]:
        """Remove a field that still has this value; true when it had."""

    @abstractmethod
    def increment(self, key: str, field: str, amount: int) -> Reply[int]:
        """Add to an integer field of a map, missing counts as 0; the new value."""

    @abstractmethod
    def increment_many(self, key: str, amounts: Mapping[str, int]) -> Reply[None]:
        """Add to several integer fields of one map at once: all of them or none."""

    @abstractmethod
    async def send(self) -> None:
        """Do it all. Sent at most once where anything is written.

        Raises:
            EngineUnavailableError: nothing happened. Everything else is in the replies, OutcomeUnknownError
                included.
        """


class Values(ABC):
    """Strings and maps in one key space, of one engine. Every verb is one round trip."""

    @abstractmethod
    def batch(self) -> ValueBatch:
        """An empty batch; no I/O."""

    @abstractmethod
    def scan_keys(self, prefix: str, *, page_size: int = 1000) -> AsyncIterator[list[str]]:
        """Pages of the keys that begin with `prefix`, of strings and of maps; pages may be empty.

        A key that is there all the time comes at least once. A server looks at all its keys: one round
        trip per `page_size` of them. Keys that are no UTF-8 are left out.
        """

    async def get(self, key: str) -> bytes | None:
        """The string, or None."""
        batch = self.batch()
        reply = batch.get(key)
        await batch.send()
        return reply.result()

    async def set(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None, only_if_absent: bool = False
    ) -> bool:
        """Store a string; false when `only_if_absent` and the key was there. Replaces a map."""
        batch = self.batch()
        reply = batch.set(key, value, ttl_seconds=ttl_seconds, only_if_absent=only_if_absent)
        await batch.send()
        return reply.result()

    async def delete(self, key: str, *, only_if: bytes | None = None) -> bool:
        """Delete a string or a map, or only a string that still is `only_if`; true when it was there."""
        batch = self.batch()
        reply = batch.delete(key, only_if=only_if)
        await batch.send()
        return reply.result()

    async def read_map(self, key: str) -> dict[str, bytes]:
        """All fields of a map; empty when there is none."""
        batch = self.batch()
        reply = batch.read_map(key)
        await batch.send()
        return reply.result()

    async def write_map(self, key: str, fields: Fields) -> None:
        """Set fields of a map, leaving its others alone. Nothing for no fields."""
        if fields:
            batch = self.batch()
            reply = batch.write_map(key, fields)
            await batch.send()
            reply.result()

    async def remove_fields(self, key: str, fields: Sequence[str]) -> int:
        """Remove fields of a map; how many there were. An empty map is gone."""
        if not fields:
            return 0
        batch = self.batch()
        reply = batch.remove_fields(key, fields)
        await batch.send()
        return reply.result()

    async def increment(self, key: str, field: str, amount: int) -> int:
        """Add to an integer field of a map, missing counts as 0; the new value. Sent at most once.

        Raises:
            OutcomeUnknownError: the connection broke after sending; it may have been added.
        """
        batch = self.batch()
        reply = batch.increment(key, field, amount)
        await batch.send()
        return reply.result()
