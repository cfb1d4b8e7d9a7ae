"""Arguments as people write them: durations, JSON objects, moments."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from betterdb_agent_memory.errors import InvalidInputError

PIPE: Final = "-"
"""Where a file may be named: the standard input or output."""

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")


def seconds(name: str, text: str | None) -> int | None:
    """A duration in whole seconds: `90`, `90s`, `12h`, `7d`, `1d12h`, `2w`.

    >>> seconds("--ttl", "1d12h")
    129600
    """
    if text is None:
        return None
    written = text.strip().lower()
    if written.isdecimal():
        return int(written)
    if not _DURATION.fullmatch(written):
        raise InvalidInputError(f"{name} is a duration such as 90s, 12h, 7d or 1d12h, got {text!r:.40}")
    total = sum(float(n) * _UNIT_SECONDS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)([smhdw])", written))
    return round(total)


def json_object(name: str, text: str | None) -> dict[str, Any] | None:
    """A JSON object."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{name} is no JSON: {error}; in a shell put it into single quotes") from None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} is a JSON object such as '{{\"a\": 1}}', got {text!r:.60}")
    return value


def moment(text: str | None) -> int | str | None:
    """Milliseconds since the epoch, or ISO text, which the store reads."""
    if text is None:
        return None
    return int(text) if re.fullmatch(r"-?\d{9,}", text) else text
