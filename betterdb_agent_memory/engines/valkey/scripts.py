"""Lua scripts, kept as files beside their callers and run by hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.packing import Argument, Command

_PARTS = {
    "add_field": (),
    "change": ("appending", "ordering", "linking", "beside", "expecting", "changing"),
    "choose": ("ordering", "spreading", "using"),
    "correct_count": (),
    "delete": ("appending", "ordering", "linking", "beside", "expecting"),
    "delete_value": (),
    "expire_value": (),
    "increment": (),
    "lease": (),
    "link": ("ordering", "linking"),
    "link_around": ("ordering", "linking"),
    "link_end": ("ordering", "linking"),
    "log_append": ("appending",),
    "log_head": (),
    "log_open": (),
    "log_settle": ("appending",),
    "log_share": (),
    "move": (),
    "remove_field": (),
    "retire": ("appending", "ordering", "linking", "beside", "expecting", "changing", "storing"),
    "write": ("appending", "ordering", "linking", "beside", "expecting", "changing", "storing"),
    "write_fenced_map": (),
    "write_map": (),
}
"""Each script, and the files that stand before it: what several scripts do is written once."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script about one key, and perhaps others beside it."""

    text: str
    digest: str

    def call(self, key: str, arguments: Sequence[Argument], *, beside: Sequence[str] = ()) -> Command:
        """The command that runs it with `key`, the keys `beside` it and `arguments`, for `run_many`."""
        return ("EVALSHA", self.digest, 1 + len(beside), key, *beside, *arguments)


async def run_many(client: CommandClient, commands: Sequence[Command]) -> list[Any]:
    """Run scripts and other writes, in order and at most once; replies or errors, in order.

    One round trip per 500, and one more for those that a server answered with NOSCRIPT: they have not
    run, so sending their text is not a repetition.
    """
    replies = await client.tell_many(_in_order(commands))
    unknown = [index for index, reply in enumerate(replies) if is_unknown_script(reply)]
    if unknown:
        repeated = await client.tell_many([by_text(commands[index]) for index in unknown])
        for index, reply in zip(unknown, repeated, strict=True):
            replies[index] = reply
    return replies


@cache
def load_script(name: str) -> Script:
    """The script in `name`.lua of this package, with the parts it is made of."""
    package = files("betterdb_agent_memory.engines.valkey")
    text = "\n".join(package.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*_PARTS[name], name))
    # The server names scripts by SHA-1; nothing secret depends on it.
    script = Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())
    _texts[script.digest] = text
    return script


def by_text(command: Command) -> Command:
    """The command with the script's text in place of its hash, which every server understands."""
    return ("EVAL", _texts[command[1]], *command[2:]) if command[0] == "EVALSHA" else command


def is_unknown_script(reply: Any) -> bool:
    """Whether a server does not know the script, so that it has not run."""
    if not isinstance(reply, Exception):
        return False
    cause = reply.__cause__
    return type(cause).__name__ == "NoScriptError" or "NOSCRIPT" in str(reply)


_texts: dict[Argument, str] = {}


def _in_order(commands: Sequence[Command]) -> Sequence[Command]:
    """The commands, so that none about a key can be repeated after a later one about the same key.

    Where a key comes twice the text itself is sent, which no server can be without.
    """
    if len(commands) == 1 or len({_key(command) for command in commands}) == len(commands):
        return commands
    seen: set[Argument] = set()
    twice: set[Argument] = set()
    for command in commands:
        (twice if _key(command) in seen else seen).add(_key(command))
    return [by_text(command) if _key(command) in twice else command for command in commands]


def _key(command: Command) -> Argument:
    return command[3] if command[0] == "EVALSHA" else command[1]
