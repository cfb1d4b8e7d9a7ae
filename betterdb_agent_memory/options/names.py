"""What memories and cache entries may be kept under: the name that every key begins with."""

from __future__ import annotations

import re

from betterdb_agent_memory.errors import ConfigurationError

DEFAULT_NAME = "betterdb_ac"

MAX_NAME_BYTES = 200
_GENERATION = re.compile("gen[0-9]+")
_TAG = re.compile("{[^{}]+}")
_WITH_HASH_TAG = re.compile(r"[^{}]*\{[^{}]+\}[^{}]*")
_TAKEN = {
    "mem": "so its keys would lie below those of store {other!r} and each would find the other's memories",
    "llm": "so its keys would lie among the answers that cache {other!r} keeps, lists and flushes",
    "tool": "so its keys would lie among the tool results that cache {other!r} keeps, lists and flushes",
    "session": "so its keys would lie among the sessions that cache {other!r} keeps, lists and flushes",
}


def checked_name(name: object) -> str:
    """A name of a store and its caches.

    `d:mem` is refused because the index of a store `d` takes in every key below `d:mem:`, so the
    two stores would see each other's memories. `d:llm`, `d:tool:x` and `d:session:y` are refused because a
    flush of the caches of `d` deletes what is below those, as published packages do too. `d:gen1` is
    refused because `d` keeps the vectors of another model below `d:gen1:` while its model is changed, and
    deletes them afterwards; a part that begins with two underscores because keys of our own do. A hash tag that a
    name begins with, as in `{d:mem}`, is one part, since the keys of another store cannot begin with it.

    A name may have a hash tag, `{acme}` or `eu:{acme}`: on a cluster all that is kept under it is then in one slot.
    Braces that are none (`{}`, `}{`), or more than one pair, of which only the first would count, are refused.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"name must be a non-empty text, got {name!r:.80}")
    if not name.isprintable() or " " in name:
        raise ConfigurationError(f"name {name!r:.80} contains a blank or a character that cannot be printed")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ConfigurationError(f"name may have {MAX_NAME_BYTES} bytes, this one has {len(name.encode()):,}")
    if re.search("[{}]", name) and not _WITH_HASH_TAG.fullmatch(name):
        raise ConfigurationError(
            f"name {name!r} has braces that are not one hash tag, by which a cluster places keys: write {{tag}} once, "
            "with something in it, as in {acme} or eu:{acme}"
        )
    parts = _parts(name)
    for place, part in enumerate(parts[1:], start=1):
        if why := _why_taken(part):
            raise ConfigurationError(
                f"name {name!r} has a part {':' + part!r}, {why.format(other=':'.join(parts[:place]))}; "
                "choose another name"
            )
    return str.__str__(name)  # of a text enumeration the value, not the member's name


def _parts(name: str) -> list[str]:
    """What colons separate; a hash tag at the beginning, braces and all, is one part whatever is in it."""
    tag = _TAG.match(name)
    begin = tag.end() if tag else 0
    first, *rest = name[begin:].split(":")
    return [name[:begin] + first, *rest]


def _why_taken(part: str) -> str | None:
    if _GENERATION.fullmatch(part):
        return (
            "so its keys would lie among those that store {other!r} makes and deletes when its embedding model changes"
        )
    if part.startswith("__"):
        return "and what begins so is kept by store {other!r} for itself"
    return _TAKEN.get(part)
