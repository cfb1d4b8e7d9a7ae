"""What a tool may be called."""

from __future__ import annotations

import re

from betterdb_agent_memory.errors import InvalidInputError

_SURROGATE = re.compile("[\ud800-\udfff]")


def checked_tool_name(tool: object) -> str:
    """`tool` if results can be kept under it: a text, not empty, without a colon, that UTF-8 can hold.

    Raises:
        InvalidInputError: it is not. A colon separates the parts of a key.
    """
    if not isinstance(tool, str) or not tool or ":" in tool:
        raise InvalidInputError(f"a tool's name must be a text without colons and not empty, got {tool!r:.80}")
    return encodable_tool_name(tool)


def encodable_tool_name(tool: object) -> str:
    """`tool` if it is a text that UTF-8 can hold; a policy may have a name that no result can have."""
    if not isinstance(tool, str) or _SURROGATE.search(tool):
        raise InvalidInputError(f"a tool's name must be a text of whole Unicode characters, got {tool!r:.80}")
    return tool
