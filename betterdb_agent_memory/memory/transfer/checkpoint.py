"""How far an import has come, kept in the store that it fills.

Beside the file it would be wrong as soon as the same file goes into a second store; here it is
gone with the store. It outlives an interrupted import by a week.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.transfer.files import require_regular
from betterdb_agent_memory.memory.transfer.results import MAX_REPORTED, LineError

LIFETIME_SECONDS: Final = 7 * 86_400
_SAMPLE: Final = 1 << 16
_REASON_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Done:
    """What an import has finished: lines up to `line`, ending at `offset` of the text, and what became of them.

    `replaced` of the imported ones were there before, `versions` of them are kept beside the memories, `conflicts` of
    the existing ones have another content.
    `errors` are the first of the rejected ones.
    """

    line: int
    offset: int
    imported: int = 0
    existing: int = 0
    expired: int = 0
    rejected: int = 0
    embedded: int = 0
    replaced: int = 0
    conflicts: int = 0
    versions: int = 0
    errors: tuple[LineError, ...] = ()

    def rejecting(self, line: int, reason: str) -> Done:
        """The same with one more line rejected."""
        told = self.errors
        if len(told) < MAX_REPORTED:
            told = (*told, LineError(line, reason[:_REASON_CHARS]))
        return replace(self, rejected=self.rejected + 1, errors=told)


class Checkpoint:
    """The progress of one file into one store, in one mode."""

    def __init__(self, values: Values, store: str, file_digest: str, on_existing: str) -> None:
        self._values = values
        self._key = f"{store}:__mem_import:{file_digest}:{on_existing}"

    async def read(self) -> Done | None:
        """What an earlier run has finished; None when there was none or it says nothing usable. One round trip."""
        stored = await self._values.get(self._key)
        try:
            values = json.loads(stored) if stored is not None else None
        except ValueError:
            return None
        return _decoded(values)

    async def write(self, done: Done) -> None:
        """Remember it. One round trip."""
        await self._values.set(self._key, json.dumps(asdict(done)).encode(), ttl_seconds=LIFETIME_SECONDS)

    async def clear(self) -> None:
        """The import is complete. One round trip."""
        await self._values.delete(self._key)


def _decoded(values: Any) -> Done | None:
    if not isinstance(values, Mapping):
        return None
    counts = {name: value for name, value in values.items() if name != "errors"}
    told = values.get("errors", [])
    if not all(type(value) is int and value >= 0 for value in counts.values()) or not isinstance(told, list):
        return None
    try:
        return Done(**counts, errors=tuple(LineError(error["line"], error["reason"]) for error in told))
    except (TypeError, KeyError):
        return None


def file_digest(path: Path) -> str:
    """What tells a file from another: its length, its beginning and its end.

    Raises:
        ConfigurationError: it cannot be read, or is no regular file.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode() + file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()[:32]
