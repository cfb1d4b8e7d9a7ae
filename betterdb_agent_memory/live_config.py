"""What an operator changes while the store runs: the hash `{name}:__mem_config`.

A valid field overrides the constructor; an absent one gives the constructor's value back. Fields
that cannot be used are ignored, and named in `MemoryStats.ignored_config_fields`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from betterdb_agent_memory.background import Periodic
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError
from betterdb_agent_memory.options import MAX_THRESHOLD, RecallWeights

_log = logging.getLogger(__name__)

THRESHOLD = "recall.threshold"
WEIGHT_SIMILARITY = "recall.weights.similarity"
WEIGHT_RECENCY = "recall.weights.recency"
WEIGHT_IMPORTANCE = "recall.weights.importance"
HALF_LIFE = "recall.halfLifeSeconds"
MAX_ITEMS = "maxItemsPerScope"


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the hash: what it accepts, in words and as a predicate, and what it changes."""

    field: str
    accepts: str
    effect: str
    is_valid: Callable[[float], bool]


SETTINGS = (
    Setting(THRESHOLD, "0 to 2", "largest cosine distance of a hit", lambda value: 0 <= value <= MAX_THRESHOLD),
    Setting(WEIGHT_SIMILARITY, "0 or more", "weight of similarity", lambda value: value >= 0),
    Setting(WEIGHT_RECENCY, "0 or more", "weight of recency", lambda value: value >= 0),
    Setting(WEIGHT_IMPORTANCE, "0 or more", "weight of importance", lambda value: value >= 0),
    Setting(HALF_LIFE, "above 0", "age in seconds at which recency is one half", lambda value: value > 0),
    Setting(MAX_ITEMS, "1 or more, rounded down", "memories kept in one scope", lambda value: value >= 1),
)
"""Every field that is read; the table in docs/configuration.md is made from this."""


@dataclass(frozen=True, slots=True)
class MemoryConfigSnapshot:
    """The values in force now."""

    threshold: float
    weights: RecallWeights
    half_life_seconds: float
    max_items_per_scope: int | None = None


def resolve(fields: Mapping[str, bytes], base: MemoryConfigSnapshot) -> tuple[MemoryConfigSnapshot, tuple[str, ...]]:
    """The configuration that `fields` make of the constructor's `base`, and the fields ignored.

    Always computed from `base`, never from what was live before, so that workers started at
    different times agree. All weights 0 gives the base weights back.
    """
    values = {setting.field: _number(fields.get(setting.field)) for setting in SETTINGS}
    valid = {
        setting.field: value
        for setting in SETTINGS
        if (value := values[setting.field]) is not None and setting.is_valid(value)
    }
    weights = base.weights
    ignored = [setting.field for setting in SETTINGS if setting.field in fields and setting.field not in valid]
    weight_values = (
        valid.get(WEIGHT_SIMILARITY, base.weights.similarity),
        valid.get(WEIGHT_RECENCY, base.weights.recency),
        valid.get(WEIGHT_IMPORTANCE, base.weights.importance),
    )
    if any(weight_values):
        weights = RecallWeights(*weight_values)
    else:
        ignored += [name for name in (WEIGHT_SIMILARITY, WEIGHT_RECENCY, WEIGHT_IMPORTANCE) if name in valid]
    limit = valid.get(MAX_ITEMS)
    snapshot = MemoryConfigSnapshot(
        threshold=valid.get(THRESHOLD, base.threshold),
        weights=weights,
        half_life_seconds=valid.get(HALF_LIFE, base.half_life_seconds),
        max_items_per_scope=base.max_items_per_scope if limit is None else math.floor(limit),
    )
    return snapshot, tuple(ignored)


_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _number(value: bytes | None) -> float | None:
    """A finite decimal number with blanks around it allowed; None for anything else, empty included."""
    if value is None:
        return None
    text = value.decode(errors="replace").strip()
    if not _DECIMAL.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


class LiveConfig:
    """The configuration in force, and what re-reads it.

    `read` fetches the hash (one round trip); `on_failure` is told of every background read that
    failed, which leaves the values as they are.
    """

    def __init__(
        self,
        base: MemoryConfigSnapshot,
        read: Callable[[], Awaitable[Mapping[str, bytes]]],
        *,
        interval_seconds: float,
        on_failure: Callable[[], None],
    ) -> None:
        if interval_seconds <= 0:
            raise ConfigurationError(f"the refresh interval must be positive, got {interval_seconds} s")
        self._base = base
        self._read = read
        self._on_failure = on_failure
        self._periodic = Periodic(self._refresh_quietly, interval_seconds, at_once=True)
        self._read_once = asyncio.Event()
        self.current = base
        self.ignored_fields: tuple[str, ...] = ()

    async def refresh(self) -> None:
        """Re-read now; when that fails the error is raised and the values stay. One round trip."""
        self.current, self.ignored_fields = resolve(await self._read(), self._base)

    def start(self) -> None:
        """Re-read in the background from now on; needs a running loop, does nothing a second time."""
        if not self._periodic.is_running:
            self._read_once = asyncio.Event()
            self._periodic.start()

    async def wait_read(self) -> None:
        """Wait until the background has read, or failed to read, for the first time."""
        await self._read_once.wait()

    async def stop(self) -> None:
        """End the background reads, and the wait for the first one."""
        self._read_once.set()
        await self._periodic.stop()

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except AgentMemoryError as error:
            self._on_failure()
            _log.warning("live configuration could not be read, the last values stay: %s", error)
        finally:
            self._read_once.set()
