"""What a caller sets for the tenants of an agent, and how much one of them may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import model_validator

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options.checks import Accepts, OptionsModel, number, switch, whole_number

Switch = Annotated[bool, switch()]
Count = Annotated[int, whole_number(1)]

DEFAULT_PLACEMENT_SECONDS = 5.0
DEFAULT_KEPT = 256


class TenantLimits(OptionsModel):
    """How much a tenant may use; None for no limit.

    Memories and bytes are those of the tenant in the store, counted for all workers together. Calls are counted by
    each worker for itself: a fleet of `n` workers may make `n` times as many.
    """

    max_memories: Count | None = None
    """Memories that are kept at once."""
    max_bytes: Count | None = None
    """Bytes of their fields as stored, with the vectors and without what the index adds."""
    calls_per_second: Annotated[float, number(0, above=True)] | None = None
    """Calls of `tenant.memory` that a worker makes in a second, in the long run."""
    burst: Count | None = None
    """Calls that may follow each other at once; None for those of one second, at least one."""

    @model_validator(mode="after")
    def _has_what_it_limits(self) -> TenantLimits:
        if self.burst is not None and self.calls_per_second is None:
            raise ConfigurationError(
                f"TenantLimits.burst says how many calls of calls_per_second may come at once: set that too, or leave "
                f"burst={self.burst} away"
            )
        return self


def _as_limits(value: object) -> TenantLimits:
    if isinstance(value, Mapping):
        return TenantLimits(**value)
    if not isinstance(value, TenantLimits):
        raise TypeError
    return value


class TenantsOptions(OptionsModel):
    """How the tenants of an agent are kept. All workers of a fleet say the same of `placement_seconds`."""

    place: Annotated[Literal["own", "pool"], Accepts("'own' or 'pool'")] = "own"
    """Where the memories of a tenant that nobody has used yet are kept: in an index of its own, or in a pool's."""
    pools: Annotated[int, whole_number(1, 1_000)] = 8
    """Over how many pools new tenants are spread; those that have a place keep it when the number changes."""
    limits: Annotated[TenantLimits, Accepts("TenantLimits(...), without any in it for no limit", _as_limits)] = (
        TenantLimits()
    )
    """The limits of a tenant for whom nobody has set any."""
    kept: Count = DEFAULT_KEPT
    """Tenants that an agent keeps ready; of more it closes the one that was asked for longest ago."""
    placement_seconds: Annotated[float, number(0, above=True, unit=" of seconds")] = DEFAULT_PLACEMENT_SECONDS
    """How long a worker believes what it has read about a tenant: its place and its limits."""
    promote_at: Count | None = None
    """Memories with which a tenant of a pool gets an index of its own by itself; None for never."""
    discovery: Switch = False
    """Whether the Monitor is told of every tenant: two entries and two heartbeats for each."""
    metrics_by_tenant: Switch = False
    """Whether metrics tell tenants apart; otherwise all of them are counted under the agent's name."""
