"""Lua scripts, kept as files beside their callers and run by hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from betterdb_agent_memory.engines.valkey.client import Argument, Command, ValkeyClient


@dataclass(frozen=True, slots=True)
class Script:
    """A script of one key."""

    text: str
    digest: str

    async def run_many(self, client: ValkeyClient, calls: Sequence[tuple[str, Sequence[Argument]]]) -> list[Any]:
        """Run once per (key, arguments); replies or errors, in order.

        One round trip per 500 calls, and one more for those that a server answered with NOSCRIPT:
        they have not run, so sending their text is not a repetition.
        """
        replies = await client.tell_many([self._by_digest(key, arguments) for key, arguments in calls])
        unknown = [index for index, reply in enumerate(replies) if _is_unknown_script(reply)]
        if unknown:
            repeated = await client.tell_many([self._by_text(*calls[index]) for index in unknown])
            for index, reply in zip(unknown, repeated, strict=True):
                replies[index] = reply
        return replies

    def _by_digest(self, key: str, arguments: Sequence[Argument]) -> Command:
        return ("EVALSHA", self.digest, 1, key, *arguments)

    def _by_text(self, key: str, arguments: Sequence[Argument]) -> Command:
        return ("EVAL", self.text, 1, key, *arguments)


@cache
def load_script(name: str) -> Script:
    """The script in `name`.lua of this package."""
    text = files("betterdb_agent_memory.engines.valkey").joinpath(f"{name}.lua").read_text(encoding="utf-8")
    # The server names scripts by SHA-1; nothing secret depends on it.
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _is_unknown_script(reply: Any) -> bool:
    if not isinstance(reply, Exception):
        return False
    cause = reply.__cause__
    return type(cause).__name__ == "NoScriptError" or "NOSCRIPT" in str(reply)
