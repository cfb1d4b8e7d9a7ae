"""What the package engram (`neuromemory-ai`) offers, as JSON: its calls, presets, kinds, hits and commands.

    python engram_surface.py

Runs in a process of its own whose PYTHONPATH begins with where that package is installed. Calls come from its
signatures, commands from the parser that its command line builds, the keys of a hit from a recall. Nothing of its
source is read.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from typing import Any


class BuiltError(Exception):
    """The parser was built; it need not parse."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def commands() -> dict[str, list[str]]:
    """The commands with their arguments; options that stand before a command under the empty name."""
    import engram.cli

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise BuiltError(parser)

    parse, argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_args, stop  # type: ignore[method-assign,assignment]
    try:
        engram.cli.main()
    except BuiltError as built:
        parser = built.parser
    finally:
        argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign]
    [subparsers] = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    found = {name: _arguments(command) for name, command in subparsers.choices.items()}
    return {"": _arguments(parser), **found}


def _arguments(parser: argparse.ArgumentParser) -> list[str]:
    wanted = (one for one in parser._actions if not isinstance(one, argparse._HelpAction | argparse._SubParsersAction))
    return [max(one.option_strings, key=len, default=one.dest) for one in wanted]


def calls(cls: type) -> dict[str, list[str]]:
    """The constructor, under the name of the class, and the public methods, with the names of their parameters."""
    methods = {name: method for name, method in vars(cls).items() if inspect.isfunction(method) and name[0] != "_"}
    found = {cls.__name__: list(inspect.signature(cls).parameters)}
    return found | {name: list(inspect.signature(method).parameters)[1:] for name, method in methods.items()}


def main() -> None:
    import engram

    memory = engram.Memory(":memory:")
    memory.add("tea")
    [hit] = memory.recall("tea")
    presets = [name for name, member in vars(engram.MemoryConfig).items() if isinstance(member, classmethod)]
    surface = {
        "calls": calls(engram.Memory),
        "presets": presets,
        "kinds": [kind.value for kind in engram.MemoryType],
        "hit": list(hit),
        "commands": commands(),
        "settings": {name: one.default for name, one in inspect.signature(engram.MemoryConfig).parameters.items()},
    }
    json.dump(surface, sys.stdout, default=str)


if __name__ == "__main__":
    main()
