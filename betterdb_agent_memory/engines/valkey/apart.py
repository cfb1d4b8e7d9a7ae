"""Entries about records that lie in another slot than the log: noted before, written after, repaired in between.

No script touches two slots of a cluster. So the entry stands in a note beside the log before its record is written;
once it was, the note becomes the entry in one step. Who dies in between leaves the note, and any reader of the log
makes an entry of it after a while: at least once, and perhaps for a write that did not happen after all.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from betterdb_agent_memory.engines.base import Outcome
from betterdb_agent_memory.engines.event_log import Announcement, Retention
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.beside import retention_arguments
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many

STALE_SECONDS = 60.0
"""After so long whoever was to settle a note is taken for dead."""

_HASH_TAG = re.compile(r"^[^{]*\{[^}]+\}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Telling:
    """One record of a batch: its id, what is to be told, and what it holds as far as that is known."""

    id: str
    announcement: Announcement
    held: Fields


class Apart:
    """The entries of one batch. `note` comes before the records are written, `settle` after."""

    def __init__(self, client: CommandClient, tellings: Sequence[Telling | None]) -> None:
        self._client = client
        self._tellings = {
            uuid.uuid4().hex: (place, telling) for place, telling in enumerate(tellings) if telling is not None
        }

    async def note(self) -> None:
        """Note what is going to be told. One round trip per 500.

        Raises:
            EngineError: it could not be; nothing may be written.
        """
        commands: list[Command] = [
            ("HSET", notes_key(telling.announcement.log_key), token, _encoded(telling))
            for token, (_, telling) in self._tellings.items()
        ]
        for outcome in await self._client.tell_many(commands):
            if isinstance(outcome, Exception):
                raise outcome

    async def settle(self, outcomes: Sequence[Outcome | None], held: Sequence[Fields | None]) -> None:
        """Tell what was done, and forget what was not: `outcomes` None is what nobody knows, whose notes stay.

        `held` is what records hold now, where that is known better. One round trip per 500. Best effort: a note that
        could not be settled is told by whoever reads the log.
        """
        commands = []
        for token, (place, telling) in self._tellings.items():
            outcome = outcomes[place]
            if outcome is None:
                continue
            happened = outcome in (Outcome.WRITTEN, Outcome.CHANGED)
            entry = telling.announcement.entry(
                telling.id, held[place] or telling.held, is_changed=outcome is Outcome.CHANGED
            )
            commands.append(
                settle_command(
                    telling.announcement.log_key,
                    token,
                    "1" if happened else "0",
                    telling.announcement.retention,
                    entry,
                )
            )
        failed = [answer for answer in await run_many(self._client, commands) if isinstance(answer, Exception)]
        if failed:
            _log.warning("%d changes will be told later, by a reader of the feed: %s", len(failed), failed[0])


def notes_key(log_key: str) -> str:
    """Where the notes about a log stand: in its slot, and below its name, which a user's rights are about.

    The hash tag of its key is theirs, too; of a key without one all of it is.

    >>> notes_key("{ag:acme}:__changes"), notes_key("ag:__changes")
    ('{ag:acme}:__changes:pending', 'ag:__changes:pending:{ag:__changes}')
    """
    return f"{log_key}:pending" if _HASH_TAG.search(log_key) else f"{log_key}:pending:{{{log_key}}}"


def settle_command(log_key: str, token: str, what: str, retention: Retention, entry: Fields) -> Command:
    """Make an entry of a note, or forget it."""
    told: list[Argument] = [token, what, *retention_arguments(retention)]
    for name, value in entry.items():
        told += (name, value)
    return load_script("log_settle").call(log_key, told, beside=(notes_key(log_key),))


async def repair(client: CommandClient, log_key: str, retention: Retention) -> int:
    """Tell what stale notes say; how many. One round trip where there are none, else two."""
    notes = reply.parse_map(await client.ask("HGETALL", notes_key(log_key)))
    commands = []
    for token, note in notes.items():
        said = json.loads(note)
        if time.time() - said["at"] > STALE_SECONDS:
            entry = {name: value.encode("latin-1") for name, value in said["entry"].items()}
            commands.append(settle_command(log_key, token, "?", retention, entry))
    outcomes = await run_many(client, commands) if commands else []
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if refused:
        # Whoever reads goes on with what is told; the notes stay for the next repair.
        _log.warning("%d changes noted beside %s could not be told: %s", len(refused), log_key, refused[0])
    told = sum(reply.as_int(outcome) for outcome in outcomes if not isinstance(outcome, Exception))
    if told:
        _log.warning("%d changes that were not told in %s by who made them are told now", told, log_key)
    return told


def _encoded(telling: Telling) -> str:
    entry = telling.announcement.entry(telling.id, telling.held)
    return json.dumps({"at": time.time(), "entry": {name: value.decode("latin-1") for name, value in entry.items()}})
