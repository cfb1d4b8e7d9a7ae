"""The table of links, with a row for each end of one: what the server keeps in a map for each record.

Everything here runs inside a transaction of the caller's. A row goes with its weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.queries import first, rows, scalar
from betterdb_agent_memory.engines.links import MAX_LINKS, LinkChange, LinkKeys, Strength, is_gone, left_ms

_LATEST_MS = 2**62


def create_link_table(connection: apsw.Connection) -> None:
    """For a file that has none yet."""
    connection.execute(
        "CREATE TABLE link (prefix TEXT NOT NULL, id TEXT NOT NULL, other TEXT NOT NULL, score REAL NOT NULL, "
        "since_ms INTEGER NOT NULL, gone_ms INTEGER NOT NULL, PRIMARY KEY (prefix, id, other)) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX link_gone ON link (gone_ms)")


def add_link(
    connection: apsw.Connection, prefix: str, change: LinkChange, now_ms: int, clock_ms: int, *, replaces: bool
) -> None:
    """Set or add to a link at both of its ends, each of which keeps its strongest ones.

    `now_ms` is the time that weights are of, `clock_ms` the file's, by which the rows go.
    """
    one, other, strength = change
    known = first(
        connection, "SELECT score, since_ms FROM link WHERE prefix = ? AND id = ? AND other = ?", (prefix, one, other)
    )
    if known is not None and not replaces and not is_gone(known[0], now_ms):
        strength = strength.joined(Strength(*known))
    gone_ms = min(clock_ms + left_ms(strength.score, now_ms), _LATEST_MS)
    for id, linked in ((one, other), (other, one)):
        connection.execute(
            "INSERT OR REPLACE INTO link VALUES (?, ?, ?, ?, ?, ?)", (prefix, id, linked, *strength, gone_ms)
        )
    for id in (one, other):
        weakest = rows(
            connection,
            "SELECT other FROM link WHERE prefix = ? AND id = ? ORDER BY score DESC, other LIMIT -1 OFFSET ?",
            (prefix, id, MAX_LINKS),
        )
        for [lost] in weakest:
            remove_link(connection, prefix, id, lost)


def remove_link(connection: apsw.Connection, prefix: str, one: str, other: str) -> bool:
    """Remove a link at both of its ends; whether there was one."""
    removed = 0
    for id, linked in ((one, other), (other, one)):
        connection.execute("DELETE FROM link WHERE prefix = ? AND id = ? AND other = ?", (prefix, id, linked))
        removed += connection.changes()
    return removed > 0


def remove_links_of(connection: apsw.Connection, keys: LinkKeys | None, ids: Sequence[str]) -> None:
    """Remove all links of deleted records. Where the file has no links it takes one look for all of them."""
    if keys is None or not ids or scalar(connection, "SELECT 1 FROM link LIMIT 1") is None:
        return
    for id in ids:
        forget_links(connection, *keys.place_of(id))


def forget_links(connection: apsw.Connection, prefix: str, id: str) -> None:
    """Remove all links of a record, at their other ends, too."""
    others = rows(connection, "SELECT other FROM link WHERE prefix = ? AND id = ?", (prefix, id))
    for [other] in others:
        remove_link(connection, prefix, id, other)
    if others:
        note_erasure(connection)


def drop_links(connection: apsw.Connection, keys: LinkKeys | None) -> None:
    """Remove the links of a collection that goes whole; of one that many share each owner's go with its records."""
    if keys is not None and not keys.is_shared:
        connection.execute("DELETE FROM link WHERE prefix = ?", (keys.prefix,))
        if connection.changes():
            note_erasure(connection)


def sweep_links(connection: apsw.Connection, clock_ms: int, *, at_most: int) -> int:
    """Remove rows of links whose weight has gone; how many it were."""
    connection.execute(
        "DELETE FROM link WHERE (prefix, id, other) IN "
        "(SELECT prefix, id, other FROM link WHERE gone_ms <= ? ORDER BY gone_ms LIMIT ?)",
        (clock_ms, at_most),
    )
    return connection.changes()


def record_exists(connection: apsw.Connection, table: str, id: str, clock_ms: int) -> bool:
    """Whether there is a record that has not expired."""
    statement = f"SELECT 1 FROM {table} WHERE id = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)"  # noqa: S608
    return scalar(connection, statement, (id, clock_ms)) is not None


def gain_links(
    connection: apsw.Connection,
    keys: LinkKeys,
    table: str,
    id: str,
    gains: Mapping[str, Strength],
    clock_ms: int,
) -> None:
    """What the links of a record in `table` gain, where the other records are there, too."""
    prefix, own = keys.place_of(id)
    begin, now_ms = id.removesuffix(own), max(strength.since_ms for strength in gains.values())
    for other, strength in gains.items():
        if record_exists(connection, table, begin + other, clock_ms):
            add_link(connection, prefix, LinkChange(own, other, strength), now_ms, clock_ms, replaces=False)
