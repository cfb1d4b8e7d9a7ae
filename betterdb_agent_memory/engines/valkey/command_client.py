"""What everything here sends commands through: one server's client or a cluster's, chosen by what the user brought."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from betterdb_agent_memory.engines.base import Traffic
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.watching import Tell


class Listens(Protocol):
    """Hears which keys change."""

    async def listen(self, keys: frozenset[str], tell: Tell) -> None:
        """Tell of changes of `keys` until cancelled; returns where there is nothing to hear."""


class CommandClient(Protocol):
    """Sends commands, writes at most once, and counts requests. Replies are bytes."""

    traffic: Traffic

    @property
    def is_pooled(self) -> bool:
        """Whether it is known how this client reaches a server."""

    def are_together(self, *keys: str) -> bool:
        """Whether one script may touch all these keys."""

    async def ask(self, *command: Argument) -> Any:
        """The reply to a command that changes nothing, or that may happen twice."""

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to commands that change nothing, in order; a refused one is an error in the list."""

    async def tell_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send writes at most once; replies in order, an error in the list where one failed."""

    def scan(self, prefix: str, *, page_size: int, kind: str | None = None) -> AsyncIterator[list[bytes]]:
        """Pages of the keys that begin with `prefix`; those that are there all the time come at least once."""

    def listener(self) -> Listens:
        """What hears of changed keys."""

    async def close(self, *, owned: bool = True) -> None:
        """Close what it opened itself, and the user's client if it is `owned`."""
