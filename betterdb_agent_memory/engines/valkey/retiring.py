"""Records that leave for another collection, and those that take their places, as commands of one script each."""

from __future__ import annotations

from collections.abc import Mapping

from betterdb_agent_memory.engines.base import RecordChange, RecordWrite, Retirement
from betterdb_agent_memory.engines.event_log import Announcement
from betterdb_agent_memory.engines.valkey.beside import Beside
from betterdb_agent_memory.engines.valkey.limits import check_change, check_write
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.scripts import load_script
from betterdb_agent_memory.engines.valkey.writing import change_arguments, expected_arguments, storing_arguments


def check_retirement(retirement: Retirement) -> None:
    """Refuse what cannot be stored."""
    if isinstance(retirement.successor, RecordWrite):
        check_write(retirement.successor)
    elif retirement.successor is not None:
        check_change(retirement.successor)
    check_write(RecordWrite(retirement.kept_as, {"": b""}, retirement.ttl_seconds))


def retire_command(
    retirement: Retirement,
    *,
    key: str,
    target_key: str,
    successor_key: str | None,
    whole_field: str,
    beside: Beside,
    announced: Announcement | None,
) -> Command:
    """The command that does all of it; `announced` is what is told of a successor that is stored."""
    keys = [target_key] if successor_key is None else [target_key, successor_key]
    most_ms: Argument = "" if retirement.ttl_seconds is None else retirement.ttl_seconds * 1000
    arguments: list[Argument] = [
        beside.letters,
        *beside.arguments,
        *expected_arguments(retirement.expected),
        "1" if retirement.resumes else "0",
        most_ms,
        len(retirement.sets),
        *_flat(retirement.sets),
        len(retirement.without),
        *retirement.without,
        *_successor_arguments(retirement.successor, whole_field, announced),
    ]
    return load_script("retire").call(key, arguments, beside=(*beside.keys, *keys))


def _successor_arguments(
    successor: RecordWrite | RecordChange | None, whole_field: str, announced: Announcement | None
) -> list[Argument]:
    if successor is None:
        return [""]
    if isinstance(successor, RecordChange):
        return ["change", successor.id, 0, whole_field, *change_arguments(successor)]
    said: list[Argument] = []
    if announced is not None:
        said = [announced.id_field, successor.id, *_flat(announced.fields)]
    return ["store", successor.id, len(said), *said, *storing_arguments(successor)]


def _flat(items: Mapping[str, bytes]) -> list[Argument]:
    return [part for item in items.items() for part in item]
