"""The configuration of one store's long-term tier that is in force."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError
from betterdb_agent_memory.live_config.fields import (
    BY_NAME,
    NOT_ALL_ZERO,
    SETTINGS,
    MemoryConfigSnapshot,
    Resolved,
    resolve,
)
from betterdb_agent_memory.live_config.rereading import Rereading

_log = logging.getLogger(__name__)

_ACCEPTS = {setting.field: setting.accepts for setting in SETTINGS} | {
    BY_NAME[name].field: f"{BY_NAME[name].accepts}, and not all weights may be 0"
    for names in NOT_ALL_ZERO
    for name in names
}


def memory_config_key(name: str) -> str:
    """The hash that operators write for the store `name`."""
    return f"{name}:__mem_config"


class LiveConfig:
    """What the hash makes of the constructor's `base`, re-read every `interval_seconds` and when it changes.

    One reading is applied whole, and never one that was asked for earlier than the one in force, in
    whatever order the answers come. A background reading that fails changes nothing and is told to
    `on_failure`; the field of a value that cannot be used to `on_ignored`, once for each value. Without
    `watched` changes are not listened for. A worker that never re-reads does not `follow`: it obeys the
    hash when it is told to `refresh`, and by nothing else.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        base: MemoryConfigSnapshot,
        *,
        interval_seconds: float,
        watched: bool = True,
        follows: bool = True,
        on_failure: Callable[[], None],
        on_ignored: Callable[[str], None],
    ) -> None:
        if interval_seconds <= 0:
            raise ConfigurationError(f"the refresh interval must be positive, got {interval_seconds} s")
        self.key = memory_config_key(name)
        self.base = base
        self.follows = follows
        self._values = engine.values
        self._on_failure = on_failure
        self._on_ignored = on_ignored
        self._rereading = Rereading(
            self._refresh_quietly, interval_seconds, keys=[self.key], listen=engine.watch if watched else None
        )
        self._resolved = resolve({}, base)
        self._asked = 0
        self._in_force = 0

    @property
    def resolved(self) -> Resolved:
        """What the last reading came to, as a whole."""
        return self._resolved

    @property
    def current(self) -> MemoryConfigSnapshot:
        """The values in force."""
        return self._resolved.config

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Fields that hold nothing usable."""
        return tuple(self._resolved.ignored)

    async def refresh(self) -> None:
        """Re-read now; when that fails the error is raised and the values stay. One round trip."""
        await self._read(apply=True)

    async def look(self) -> Resolved:
        """What the hash holds now, put in force where this worker follows. One round trip."""
        return await self._read(apply=self.follows)

    def start(self) -> None:
        """Re-read in the background from now on; needs a running loop, does nothing a second time."""
        self._rereading.start()

    async def wait_read(self) -> None:
        """Wait until the background has read, or failed to read, for the first time."""
        await self._rereading.wait_read()

    async def stop(self) -> None:
        """End the background reads, and the wait for the first one."""
        await self._rereading.stop()

    async def _read(self, *, apply: bool) -> Resolved:
        self._asked += 1
        number = self._asked
        fields = await self._values.read_map(self.key)
        if apply and number > self._in_force:
            self._in_force = number
            self._apply(fields)
        return self._resolved if apply else resolve(fields, self.base)

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except AgentMemoryError as error:
            self._on_failure()
            _log.warning("live configuration could not be read, the last values stay: %s", error)

    def _apply(self, fields: Mapping[str, bytes]) -> None:
        former, self._resolved = self._resolved, resolve(fields, self.base)
        for field, text in self._resolved.ignored.items():
            if former.ignored.get(field) != text:
                self._on_ignored(field)
                _log.warning(
                    "%s of %s holds %r and is ignored: it accepts %s",
                    field,
                    self.key,
                    text[:40],
                    _ACCEPTS[field],
                )
