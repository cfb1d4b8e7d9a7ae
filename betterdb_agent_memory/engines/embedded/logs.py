"""The tables of event logs: `log` has a row for each, `log_entry` what was appended, the others the groups of readers.

Everything here runs inside a transaction of the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from betterdb_agent_memory.engines.embedded.body import pack, unpack
from betterdb_agent_memory.engines.embedded.queries import first, rows, scalar, values
from betterdb_agent_memory.engines.event_log import (
    PARTITIONS,
    GroupState,
    LogEntry,
    LogPosition,
    LogState,
    Retention,
    fair_share,
)
from betterdb_agent_memory.engines.filters import Fields


def create_log_tables(connection: apsw.Connection) -> None:
    """For a file that has none yet."""
    connection.execute(
        "CREATE TABLE log (key TEXT PRIMARY KEY, begun_ms INTEGER NOT NULL, max_entries INTEGER NOT NULL, "
        "max_age_seconds INTEGER, last_ms INTEGER NOT NULL, last_number INTEGER NOT NULL)"
    )
    connection.execute(
        "CREATE TABLE log_entry (key TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, "
        "fields BLOB NOT NULL, PRIMARY KEY (key, number)) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE log_partition (key TEXT NOT NULL, reader TEXT NOT NULL, number INTEGER NOT NULL, "
        "handled_ms INTEGER NOT NULL, handled_number INTEGER NOT NULL, owner TEXT, "
        "PRIMARY KEY (key, reader, number)) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE log_consumer (key TEXT NOT NULL, reader TEXT NOT NULL, consumer TEXT NOT NULL, "
        "until_ms INTEGER NOT NULL, PRIMARY KEY (key, reader, consumer)) WITHOUT ROWID"
    )


def open_log(connection: apsw.Connection, key: str, retention: Retention, now_ms: int) -> None:
    """Make a log, where there is none."""
    connection.execute(
        "INSERT OR IGNORE INTO log VALUES (?, ?, ?, ?, 0, 0)",
        (key, now_ms, retention.max_entries, retention.max_age_seconds),
    )


def log_state(connection: apsw.Connection, key: str, now_ms: int) -> LogState | None:
    """A log as it is; None where there is none."""
    found = first(
        connection,
        "SELECT begun_ms, max_entries, max_age_seconds, last_ms, last_number FROM log WHERE key = ?",
        (key,),
    )
    if found is None:
        return None
    begun_ms, max_entries, max_age_seconds, last_ms, last_number = found
    length = scalar(connection, "SELECT count(*) FROM log_entry WHERE key = ?", (key,))
    return LogState(
        begun_ms, now_ms, LogPosition(last_ms, last_number), length, Retention(max_entries, max_age_seconds)
    )


def drop_log(connection: apsw.Connection, key: str) -> bool:
    """Delete a log with its groups; false where there was none."""
    for table in ("log_entry", "log_partition", "log_consumer"):
        connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))  # noqa: S608 - names of our own
    connection.execute("DELETE FROM log WHERE key = ?", (key,))
    return connection.changes() > 0


def append_entries(
    connection: apsw.Connection, key: str, entries: Sequence[Fields], now_ms: int
) -> list[LogPosition] | None:
    """Add entries at the end of a log and trim what it keeps no longer; None, and nothing done, where there is none."""
    found = first(
        connection, "SELECT last_ms, last_number, max_entries, max_age_seconds FROM log WHERE key = ?", (key,)
    )
    if found is None:
        return None
    last_ms, last_number, max_entries, max_age_seconds = found
    at_ms = max(now_ms, last_ms)
    positions = [LogPosition(at_ms, last_number + place) for place in range(1, len(entries) + 1)]
    connection.executemany(
        "INSERT INTO log_entry VALUES (?, ?, ?, ?)",
        [(key, at.number, at.time_ms, pack(fields)) for at, fields in zip(positions, entries, strict=True)],
    )
    if positions:
        connection.execute(
            "UPDATE log SET last_ms = ?, last_number = ? WHERE key = ?", (at_ms, positions[-1].number, key)
        )
        newest_kept = positions[-1].number - max_entries
        connection.execute("DELETE FROM log_entry WHERE key = ? AND number <= ?", (key, newest_kept))
        if max_age_seconds is not None:
            _trim_older(connection, key, at_ms - 1000 * max_age_seconds)
    return positions


def _trim_older(connection: apsw.Connection, key: str, before_ms: int) -> None:
    """Times never fall from one number to the next: what is too old lies before the first that is not."""
    oldest_kept = scalar(
        connection,
        "SELECT number FROM log_entry WHERE key = ? AND at_ms >= ? ORDER BY number LIMIT 1",
        (key, before_ms),
    )
    connection.execute("DELETE FROM log_entry WHERE key = ? AND number < ?", (key, oldest_kept))


def entries_behind(connection: apsw.Connection, key: str, number: int, count: int) -> tuple[LogEntry, ...]:
    """Up to `count` entries with a larger number, in order."""
    found = rows(
        connection,
        "SELECT at_ms, number, fields FROM log_entry WHERE key = ? AND number > ? ORDER BY number LIMIT ?",
        (key, number, count),
    )
    return tuple(LogEntry(LogPosition(at_ms, number), unpack(fields)) for at_ms, number, fields in found)


def position_before(connection: apsw.Connection, key: str, time_ms: int, last: LogPosition) -> LogPosition | None:
    """The position behind which lies all of `time_ms` or later; None where some of that has been trimmed."""
    later = first(
        connection,
        "SELECT number FROM log_entry WHERE key = ? AND at_ms >= ? ORDER BY number LIMIT 1",
        (key, time_ms),
    )
    if later is None:
        return last if last.time_ms < time_ms else None
    [number] = later
    if number == 1:
        return LogPosition(0, 0)
    at_ms = scalar(connection, "SELECT at_ms FROM log_entry WHERE key = ? AND number = ?", (key, number - 1))
    return None if at_ms is None else LogPosition(at_ms, number - 1)


def share_out(
    connection: apsw.Connection,
    key: str,
    reader: str,
    consumer: str,
    *,
    now_ms: int,
    hold_ms: int,
    handled: Mapping[int, LogPosition],
    start: LogPosition,
    may_move: bool,
) -> dict[int, LogPosition]:
    """`EventLog.share` of the group `reader`; with a `hold_ms` of 0 `EventLog.leave`."""
    here = (key, reader)
    owned = "UPDATE log_partition SET handled_ms = ?, handled_number = ? WHERE key = ? AND reader = ? AND number = ? "
    connection.executemany(
        owned + "AND owner = ? AND (handled_ms, handled_number) < (?, ?)",
        [(*position, *here, partition, consumer, *position) for partition, position in handled.items()],
    )
    connection.execute(
        "DELETE FROM log_consumer WHERE key = ? AND reader = ? AND (consumer = ? OR until_ms <= ?)",
        (*here, consumer, now_ms),
    )
    if not hold_ms:
        connection.execute(
            "UPDATE log_partition SET owner = NULL WHERE key = ? AND reader = ? AND owner = ?", (*here, consumer)
        )
        return {}
    if scalar(connection, "SELECT 1 FROM log_partition WHERE key = ? AND reader = ? LIMIT 1", here) is None:
        connection.executemany(
            "INSERT INTO log_partition VALUES (?, ?, ?, ?, ?, NULL)",
            [(*here, partition, *start) for partition in range(PARTITIONS)],
        )
    connection.execute("INSERT INTO log_consumer VALUES (?, ?, ?, ?)", (*here, consumer, now_ms + hold_ms))
    if may_move:
        _move(connection, key, reader, consumer)
    held = rows(
        connection,
        "SELECT number, handled_ms, handled_number FROM log_partition WHERE key = ? AND reader = ? AND owner = ? "
        "ORDER BY number",
        (*here, consumer),
    )
    return {partition: LogPosition(ms, number) for partition, ms, number in held}


def _move(connection: apsw.Connection, key: str, reader: str, consumer: str) -> None:
    """Give up what is more than this consumer's share, or take over what nobody alive has."""
    here = (key, reader)
    alive = values(connection, "SELECT consumer FROM log_consumer WHERE key = ? AND reader = ?", here)
    owners = rows(
        connection, "SELECT number, owner FROM log_partition WHERE key = ? AND reader = ? ORDER BY number", here
    )
    held = [number for number, owner in owners if owner == consumer]
    free = [number for number, owner in owners if owner not in alive]
    share = fair_share(consumer, alive, len(owners))
    moves: list[tuple[str | None, str, str, int]] = [(None, *here, number) for number in held[share:]]
    moves += [(consumer, *here, number) for number in free[: max(0, share - len(held))]]
    connection.executemany("UPDATE log_partition SET owner = ? WHERE key = ? AND reader = ? AND number = ?", moves)


def group_states(connection: apsw.Connection, key: str, now_ms: int) -> list[GroupState]:
    """Every group of a log, by name."""
    states = []
    for name in values(connection, "SELECT DISTINCT reader FROM log_partition WHERE key = ? ORDER BY reader", (key,)):
        positions = rows(
            connection,
            "SELECT handled_ms, handled_number FROM log_partition WHERE key = ? AND reader = ? ORDER BY number",
            (key, name),
        )
        alive = values(
            connection,
            "SELECT consumer FROM log_consumer WHERE key = ? AND reader = ? AND until_ms > ? ORDER BY consumer",
            (key, name, now_ms),
        )
        states.append(GroupState(name, tuple(LogPosition(*position) for position in positions), tuple(alive)))
    return states


def drop_group(connection: apsw.Connection, key: str, reader: str) -> bool:
    """Forget a group; false where there was none."""
    connection.execute("DELETE FROM log_consumer WHERE key = ? AND reader = ?", (key, reader))
    connection.execute("DELETE FROM log_partition WHERE key = ? AND reader = ?", (key, reader))
    return connection.changes() > 0
