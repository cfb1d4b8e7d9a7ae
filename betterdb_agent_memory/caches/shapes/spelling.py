"""JSON as `JSON.stringify` writes it for members in the order given, for text that ends up inside a key."""

from __future__ import annotations

import re
from typing import Any, Final

from betterdb_agent_memory.caches.canonical import canonical_json

_INDEX: Final = re.compile("0|[1-9][0-9]{0,8}")


def javascript_json(value: Any) -> str:
    """`value`, of JSON's types, without blanks; only names that are array indices come first, by number.

    >>> javascript_json({"b": [1.0, None], "a": "é", "7": True})
    '{"7":true,"b":[1,null],"a":"é"}'
    """
    if isinstance(value, dict):
        members = (f"{canonical_json(name)}:{javascript_json(value[name])}" for name in sorted(value, key=_order))
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(javascript_json, value))}]"
    return canonical_json(value)


def _order(name: str) -> tuple[bool, int]:
    """For a stable sort: indices by number, then the others as they stand."""
    is_index = _INDEX.fullmatch(name) is not None
    return not is_index, int(name) if is_index else 0
