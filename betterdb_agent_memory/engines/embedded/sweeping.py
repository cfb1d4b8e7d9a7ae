"""Everything in the file that expired, whichever store it belongs to."""

from __future__ import annotations

import apsw

from betterdb_agent_memory.engines.embedded.keys import sweep_values
from betterdb_agent_memory.engines.embedded.linking import sweep_links
from betterdb_agent_memory.engines.embedded.schema import all_tables
from betterdb_agent_memory.engines.embedded.writing import sweep

_AT_ONCE = 1000


def sweep_everything(connection: apsw.Connection, now_ms: int) -> int:
    """Remove up to a thousand expired records of each collection, and as many values and links; how many it were."""
    removed = sweep_values(connection, now_ms, at_most=_AT_ONCE)
    removed += sweep_links(connection, now_ms, at_most=_AT_ONCE)
    for tables in all_tables(connection):
        removed += sweep(connection, tables, now_ms, at_most=_AT_ONCE)
    return removed
