"""Where a tenant's memories are and how much it may use, as every worker reads it.

Three keys below the tenant's name, written by whoever comes first and by operators:

* `__tenant`, a string: `own`, or `pool:3`. It is written once and stays, unless the tenant is deleted.
* `__tenant_moves`, a map: how far the way out of the pool has come, or the deletion of the tenant. Its fields are set
  one after another and never taken away, so a worker that stood still cannot turn anything back; after a deletion, too.
* `__tenant_limits`, a map: the fields of `TenantLimits`, and when everybody has heard of them.

A worker believes what it has read for `placement_seconds`; whoever goes a step further waits so long before relying
on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.options.tenants import TenantLimits

Phase: TypeAlias = Literal["pooled", "announced", "moving", "own", "deleting", "deleted"]
"""`pooled`: in the pool. `announced`: everybody is being told to look in both places. `moving`: memories go from the
pool into the tenant's own index. `own`: all are there. `deleting`: they and all else about the tenant are being
deleted. `deleted`: they are, and the name is not used again."""

_STEPS: tuple[Phase, ...] = ("announced", "moving", "own", "deleting", "deleted")
_DELETED: Final = "deleted"
_ENDS: tuple[Phase, ...] = (_DELETED, "deleting")
_HEARD = "heard_ms"
_MARGIN = 1.1
_OWN = b"own"
_POOL = b"pool:"


@dataclass(frozen=True, slots=True)
class TenantState:
    """`pool` is the number of the pool that the memories are or were in, None where there never was one."""

    phase: Phase
    pool: int | None
    limits: TenantLimits
    counting_since_ms: int = 0
    """When the limits were set, and everybody has heard of it: what was counted before is not to be relied on."""

    def refuse_deleted(self, tenant: str) -> None:
        """Nothing, unless the tenant is being deleted, or was.

        Raises:
            ConfigurationError: it is, or was.
        """
        if self.phase == "deleting":
            raise ConfigurationError(
                f"tenant {tenant} is being deleted (a deletion that was killed goes on with "
                f'agent.tenants.delete("{tenant}"))'
            )
        if self.phase == "deleted":
            raise ConfigurationError(
                f"tenant {tenant} was deleted, and its name is not used again: a worker that has been busy since could "
                "write what was deleted into it; give a customer who comes back another name"
            )


class TenantKeeper:
    """Reads the state of one tenant at most once in a while, and moves it on.

    `default` is where the memories of a tenant are kept that nobody has used yet: the number of a pool, or None.
    """

    def __init__(
        self, values: Values, name: str, *, default: int | None, limits: TenantLimits, believed_seconds: float
    ) -> None:
        self._values = values
        self._place_key = f"{name}:__tenant"
        self._moves_key = f"{name}:__tenant_moves"
        self._limits_key = f"{name}:__tenant_limits"
        self._default = _OWN if default is None else _POOL + b"%d" % default
        self._limits = limits
        self._believed_seconds = believed_seconds
        self._read_at = -believed_seconds
        self._state: TenantState | None = None

    @property
    def believed_seconds(self) -> float:
        """How long a reading is believed."""
        return self._believed_seconds

    def is_fresh(self) -> bool:
        """Whether the last reading is still believed."""
        return self._state is not None and monotonic() - self._read_at < self._believed_seconds

    async def current(self, *, look: bool = False) -> TenantState:
        """The state. No round trip while the last reading is believed, else one; two more for a tenant without one.

        Raises:
            ConfigurationError: it was written by hand, or by a later release.
        """
        if not look and self._state is not None and self.is_fresh():
            return self._state
        asked_at = monotonic()
        place, moves, limits = await self._read()
        if place is None and _DELETED not in moves:
            await self._values.set(self._place_key, self._default, only_if_absent=True)
            asked_at = monotonic()
            place, moves, limits = await self._read()
        heard = limits.get(_HEARD, b"0")
        self._state = TenantState(
            _phase_of(self._place_key, place, moves),
            _pool_of(place),
            self._limits_of(limits),
            int(heard) if heard.isdigit() else 0,
        )
        self._read_at = asked_at
        return self._state

    async def step(self, phase: Phase, lease: HeldLease) -> None:
        """One step further on the way out of the pool, or the first one of a deletion. One round trip; doing it again
        changes nothing.

        Raises:
            LeaseLostError: somebody else has the lease by now; nothing was written.
        """
        await lease.write_map(self._moves_key, {phase: b"1"})
        self._state = None

    @property
    def last_keys(self) -> tuple[str, str]:
        """What says where the memories are, and how far their deletion has come: of all keys the last to go."""
        return self._moves_key, self._place_key

    async def is_used(self) -> bool:
        """Whether anybody has ever asked for the tenant's memories. One round trip."""
        place, moves, _ = await self._read()
        return place is not None or bool(moves)

    async def end(self, lease: HeldLease) -> None:
        """The last step of a deletion: of what says where the memories are that there are none stays. Two round trips.

        Raises:
            LeaseLostError: somebody else has the lease by now; nothing was written.
        """
        await self.step(_DELETED, lease)
        await self._values.delete(self._place_key)

    async def forget(self) -> None:
        """The last step of the deletion of a tenant that nobody has used: its name is as before. One round trip."""
        batch = self._values.batch()
        gone = [batch.delete(key) for key in self.last_keys]
        await batch.send()
        for reply in gone:
            reply.result()
        self._state = None

    async def refuse_deleted(self, tenant: str) -> None:
        """Nothing, unless the tenant is being deleted, or was: by what is stored, not by what was believed. One round
        trip, which leaves a tenant that nobody has used as it is.

        Raises:
            ConfigurationError: it is, or was.
        """
        _, moves, limits = await self._read()
        for phase in _ENDS:
            if phase in moves:
                TenantState(phase, None, self._limits_of(limits)).refuse_deleted(tenant)

    async def set_limits(self, limits: TenantLimits) -> None:
        """Limits of this tenant, in place of those it had. Two round trips."""
        said = {name: value for name, value in limits.model_dump().items() if value is not None}
        # Who has not heard yet goes by the former limits, and perhaps counts nothing.
        heard_ms = system_clock() + round(1000 * _MARGIN * self._believed_seconds)
        # Set first: in between there may be too many limits, never none.
        await self._values.write_map(
            self._limits_key,
            {_HEARD: b"%d" % heard_ms}
            | ({name: repr(value).encode() for name, value in said.items()} or {"none": b"1"}),
        )
        await self._values.remove_fields(
            self._limits_key,
            [name for name in (*TenantLimits.model_fields, *(("none",) if said else ())) if name not in said],
        )
        self._state = None

    async def _read(self) -> tuple[bytes | None, dict[str, bytes], dict[str, bytes]]:
        batch = self._values.batch()
        place, moves = batch.get(self._place_key), batch.read_map(self._moves_key)
        limits = batch.read_map(self._limits_key)
        await batch.send()
        return place.result(), moves.result(), limits.result()

    def _limits_of(self, fields: Fields) -> TenantLimits:
        if not fields:
            return self._limits
        if "calls_per_second" not in fields:
            # Written by hand: it would limit nothing, and nobody should be stopped by it.
            fields = {name: value for name, value in fields.items() if name != "burst"}
        return TenantLimits(
            **{
                name: _number(self._limits_key, name, fields[name])
                for name in TenantLimits.model_fields
                if name in fields
            }
        )


def _number(key: str, name: str, text: bytes) -> Any:
    try:
        value = float(text)
    except ValueError:
        raise ConfigurationError(f"{key} holds {name} {text!r:.40}, which is no number; set it anew") from None
    return int(value) if value.is_integer() else value


def _phase_of(key: str, place: bytes | None, moves: Mapping[str, bytes]) -> Phase:
    if _DELETED in moves:
        return _DELETED
    if place == _OWN:
        return "deleting" if "deleting" in moves else "own"
    if place is None or not place.startswith(_POOL):
        raise ConfigurationError(f"{key} holds {place!r:.40}, which this release does not know; upgrade it")
    done = [phase for phase in _STEPS if phase in moves]
    return done[-1] if done else "pooled"


def _pool_of(place: bytes | None) -> int | None:
    if place is None or not place.startswith(_POOL):
        return None
    number = place.removeprefix(_POOL)
    return int(number) if number.isdigit() else None
