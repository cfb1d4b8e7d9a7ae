"""Whether work that holds a lease still may write, asked inside the transaction that writes."""

from __future__ import annotations

import apsw

from betterdb_agent_memory.engines.base import Fence
from betterdb_agent_memory.engines.embedded.queries import scalar


def refuse_late(connection: apsw.Connection, fence: Fence | None, *, refused: int = 1) -> None:
    """Nothing while nobody else has taken the lease of `fence` since, or there is no fence.

    Raises:
        LeaseLostError: somebody has; none of the `refused` writes may happen.
    """
    if fence is None:
        return
    if scalar(connection, "SELECT token FROM lease WHERE key = ?", (fence.key,)) != fence.token:
        raise fence.lost(refused=refused)
