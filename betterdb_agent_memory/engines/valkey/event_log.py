"""Event logs on a server: a stream whose ids are `<ms>-<number>`, and groups as hashes beside it.

The keys of the log at `K` are `K` (the stream), `K:head` (what is kept, and which groups there are) and
`K:group:<name>`. Only scripts append, so that numbers have no gaps and whoever misses some can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from betterdb_agent_memory.engines.event_log import (
    BEGINNING,
    PARTITIONS,
    GroupState,
    LogEntry,
    LogPage,
    LogPosition,
    LogState,
    Retention,
    checked_hold_ms,
    missed_between,
    read_position,
)
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.apart import notes_key, repair
from betterdb_agent_memory.engines.valkey.beside import retention_arguments
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many
from betterdb_agent_memory.engines.watching import Watch, Watching
from betterdb_agent_memory.errors import EngineError

LOOK_AGAIN_SECONDS = 1.0
"""Where the server tells of appended entries, this is for the case that its word was lost."""

REPAIR_EVERY_SECONDS = 15.0

_GROUP = "group:"


class ValkeyEventLog:
    """The `EventLog` of a server."""

    def __init__(self, client: CommandClient, watching: Watching, key: str) -> None:
        self._client = client
        self._watching = watching
        self._key = key
        self._head = f"{key}:head"
        self._retention: Retention | None = None
        self._repaired_at = -REPAIR_EVERY_SECONDS

    async def open(self, retention: Retention) -> LogState:
        """The log as it is, opened now if there was none. 2 round trips."""
        outcomes = await run_many(
            self._client,
            [
                load_script("log_open").call(self._key, []),
                load_script("log_head").call(self._head, retention_arguments(retention)),
            ],
        )
        _raise_first(outcomes)
        state = await self.state()
        if state is None:
            raise EngineError(f"the log {self._key} was dropped in the moment in which it was opened; open it again")
        return state

    async def state(self) -> LogState | None:
        """The log as it is; None where there is none. One round trip."""
        info, head, time = await self._client.ask_many(
            [
                ("XINFO", "STREAM", self._key),
                ("HMGET", self._head, "begun_ms", "max_entries", "max_age_ms"),
                ("TIME",),
            ]
        )
        stream = _stream_info(info)
        _raise_first([head, time])
        noted = reply.parse_fields(head, ("begun_ms", "max_entries", "max_age_ms"))
        if stream is None or noted is None or "begun_ms" not in noted:
            return None
        max_age_ms = noted.get("max_age_ms")
        self._retention = Retention(
            reply.as_int(noted["max_entries"]), reply.as_int(max_age_ms) // 1000 if max_age_ms else None
        )
        last, length = stream
        now_ms = reply.as_int(time[0]) * 1000 + reply.as_int(time[1]) // 1000
        return LogState(reply.as_int(noted["begun_ms"]), now_ms, last, length, self._retention)

    async def drop(self) -> bool:
        """Delete the log and its groups; false where there was none. 2 round trips."""
        head = reply.parse_map(await self._client.ask("HGETALL", self._head))
        groups = [name.removeprefix(_GROUP) for name in head if name.startswith(_GROUP)]
        keys = [self._key, self._head, notes_key(self._key), *(self._group_key(group) for group in groups)]
        outcomes = await self._client.tell_many([("DEL", key) for key in keys])
        _raise_first(outcomes)
        return reply.as_int(outcomes[0]) > 0

    async def append(self, entries: Sequence[Fields]) -> list[LogPosition | None]:
        """Add entries at the end. One round trip per 500, one more where what is kept is not known yet."""
        if self._retention is None and (not entries or await self.state() is None):
            return [None] * len(entries)
        assert self._retention is not None
        kept = retention_arguments(self._retention)
        script = load_script("log_append")
        outcomes = await run_many(self._client, [script.call(self._key, [*kept, *_flat(fields)]) for fields in entries])
        _raise_first(outcomes)
        return [None if outcome is None else _position(outcome) for outcome in outcomes]

    async def read(self, after: LogPosition, *, count: int) -> LogPage | None:
        """Up to `count` entries behind `after`; None where there is no log. One round trip.

        Up to three more every 15 s where entries about records of other slots have been noted and not yet written:
        those whose writers are dead are written now.
        """
        # The end first: what is there by then and not in the range afterwards has been trimmed.
        info, found, noted = await self._client.ask_many(
            [
                ("XINFO", "STREAM", self._key),
                ("XRANGE", self._key, _behind(after), "+", "COUNT", count),
                ("EXISTS", notes_key(self._key)),
            ]
        )
        stream = _stream_info(info)
        _raise_first([found, noted])
        if reply.as_int(noted) and stream is not None:
            await self._repair()
        if stream is None:
            return None
        last, _ = stream
        entries = _entries(found)
        missed = missed_between(after, entries, last)
        return LogPage(entries, missed, max(last, entries[-1].position) if entries else last)

    @property
    def look_again_seconds(self) -> float:
        """How long whoever waits for entries lets pass before looking again, told of some or not."""
        return LOOK_AGAIN_SECONDS

    def watch(self, on_append: Callable[[], None]) -> Watch | None:
        """Call `on_append` soon after something was appended, by whomever; best effort, as `Engine.watch`."""
        return self._watching.add([self._key], on_append)

    async def before(self, time_ms: int) -> LogPosition | None:
        """The position behind which lies all that was appended at `time_ms` or later. One round trip."""
        time_ms = max(time_ms, 1)  # nothing is before 0-0, not even for a server
        info, earlier, later = await self._client.ask_many(
            [
                ("XINFO", "STREAM", self._key),
                ("XREVRANGE", self._key, f"({time_ms}-0", "-", "COUNT", 1),
                ("XRANGE", self._key, f"{time_ms}-0", "+", "COUNT", 1),
            ]
        )
        stream = _stream_info(info)
        _raise_first([earlier, later])
        if stream is None:
            return None
        for found in (earlier, later):
            if entries := _entries(found):
                position = entries[0].position
                if found is earlier:
                    return position
                return LogPosition(0, 0) if position.number == 1 else None
        last, _ = stream
        return last if last.time_ms < time_ms else None

    async def share(
        self,
        group: str,
        consumer: str,
        *,
        hold_seconds: float,
        handled: Mapping[int, LogPosition],
        start: LogPosition = BEGINNING,
        may_move: bool = True,
    ) -> dict[int, LogPosition]:
        """Say that this consumer is alive and what it has handled; the partitions that it holds. One round trip."""
        hold_ms = checked_hold_ms(hold_seconds)
        command = self._share(group, consumer, hold_ms, handled, start, may_move=may_move)
        # The group is noted beside the log first: whoever drops the log finds it.
        noted, held = await run_many(self._client, [("HSET", self._head, _GROUP + group, "1"), command])
        _raise_first([noted, held])
        return {
            reply.as_int(partition): _position(position)
            for partition, position in zip(held[::2], held[1::2], strict=True)
        }

    async def leave(self, group: str, consumer: str, handled: Mapping[int, LogPosition]) -> None:
        """Say what was handled, and give everything up at once. One round trip."""
        _raise_first(
            await run_many(self._client, [self._share(group, consumer, 0, handled, BEGINNING, may_move=False)])
        )

    async def groups(self) -> list[GroupState]:
        """Every group, by name. 2 round trips."""
        head = reply.parse_map(await self._client.ask("HGETALL", self._head))
        names = sorted(name.removeprefix(_GROUP) for name in head if name.startswith(_GROUP))
        answers = await self._client.ask_many([("TIME",), *(("HGETALL", self._group_key(name)) for name in names)])
        _raise_first(answers)
        now_ms = reply.as_int(answers[0][0]) * 1000 + reply.as_int(answers[0][1]) // 1000
        stored = zip(names, map(reply.parse_map, answers[1:]), strict=True)
        return [_group_state(name, fields, now_ms) for name, fields in stored if "partitions" in fields]

    async def drop_group(self, group: str) -> bool:
        """Forget a group and how far it has come; false where there was none. One round trip."""
        outcomes = await self._client.tell_many([("DEL", self._group_key(group)), ("HDEL", self._head, _GROUP + group)])
        _raise_first(outcomes)
        return reply.as_int(outcomes[0]) > 0

    async def _repair(self) -> None:
        if monotonic() - self._repaired_at < REPAIR_EVERY_SECONDS:
            return
        self._repaired_at = monotonic()
        if self._retention is None:
            await self.state()
        if self._retention is not None:
            await repair(self._client, self._key, self._retention)

    def _share(
        self,
        group: str,
        consumer: str,
        hold_ms: int,
        handled: Mapping[int, LogPosition],
        start: LogPosition,
        *,
        may_move: bool,
    ) -> Command:
        told: list[Argument] = [consumer, hold_ms, int(may_move), PARTITIONS, str(start)]
        for partition, position in handled.items():
            told += (partition, str(position))
        return load_script("log_share").call(self._group_key(group), told)

    def _group_key(self, group: str) -> str:
        return f"{self._key}:group:{group}"


def _flat(fields: Fields) -> list[Argument]:
    return [part for item in fields.items() for part in item]


def _behind(position: LogPosition) -> str:
    return f"({position}" if position != BEGINNING else "-"


def _position(text: Any) -> LogPosition:
    position = read_position(reply.as_text(text))
    if position is None:
        raise EngineError(f"the log holds an entry that this library did not number: {reply.as_text(text)!r}")
    return position


def _entries(found: Any) -> tuple[LogEntry, ...]:
    return tuple(LogEntry(_position(id), reply.parse_map(fields)) for id, fields in found)


def _stream_info(info: Any) -> tuple[LogPosition, int] | None:
    """Where a stream ended last, and how many entries it has; None where there is none."""
    if isinstance(info, EngineError) and "no such key" in str(info).lower():
        return None
    _raise_first([info])
    told = dict(reply.as_pairs(info))
    return _position(told["last-generated-id"]), reply.as_int(told["length"])


def _group_state(name: str, fields: Mapping[str, bytes], now_ms: int) -> GroupState:
    positions = [_position(fields[f"p{n}"]) for n in range(reply.as_int(fields["partitions"]))]
    consumers = [
        field.removeprefix("c") for field, until in fields.items() if field[0] == "c" and reply.as_int(until) > now_ms
    ]
    return GroupState(name, tuple(positions), tuple(sorted(consumers)))


def _raise_first(outcomes: Sequence[Any]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
