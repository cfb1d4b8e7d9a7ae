"""What is checked and kept beside a record in the step that writes it: the arguments of beside.lua.

Only what may be touched by one script: on a cluster the keys of one slot. The rest is kept in the record itself (the
token of a fence), or right after the write, where a crash in between leaves it undone (counts, which are only ever
believed until the next recount).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from betterdb_agent_memory.engines.base import Collection, Counter, Fence, Outcome
from betterdb_agent_memory.engines.event_log import Announcement, Retention
from betterdb_agent_memory.engines.links import HALF_LIFE_MS, KEPT_HALVINGS, MAX_LINKS, Strength
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.scripts import Script, load_script

LINK_MEASURES = (MAX_LINKS, HALF_LIFE_MS, KEPT_HALVINGS)
"""What linking.lua measures links by."""

LOST = 4
"""What a script answers that came too late for its fence."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The keys and the first arguments of one call of a script about a record.

    `marks` are integers that the record must hold at least once it is written.
    """

    letters: str = ""
    keys: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    marks: tuple[tuple[str, int], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether a command that knows nothing of it would do."""
        return not self.letters

    @property
    def maxima(self) -> Mapping[str, int]:
        """The marks, as a change of the record takes them."""
        return dict(self.marks)

    @property
    def fields(self) -> Mapping[str, bytes]:
        """The marks, as fields of a record that is stored whole."""
        return {name: b"%d" % token for name, token in self.marks}

    def call(self, script: Script, key: str, arguments: Sequence[Argument]) -> Command:
        """The command that runs `script` about the record at `key`."""
        return script.call(key, [self.letters, *self.arguments, *arguments], beside=self.keys)


NOTHING = Beside()


def share_a_slot(client: CommandClient, *keys: str, prefix: str) -> bool:
    """Whether one script may touch these keys and all that begin with `prefix`, as far as is known."""
    # Two keys may lie in one slot by chance, all that begin alike only by a hash tag.
    return client.are_together(*keys, prefix, f"{prefix}0", f"{prefix}1")


class Besides:
    """What goes with the writes of one collection."""

    def __init__(self, client: CommandClient, collection: Collection) -> None:
        self._client = client
        self._collection = collection
        self._are_apart = False

    def are_together(self, *keys: str) -> bool:
        """Whether one script may touch all these keys, as far as is known."""
        return not self._are_apart and self._client.are_together(*keys)

    def learn(self, answers: Sequence[Any]) -> list[int]:
        """The places of those that a server refused because their keys lie in different slots: none of them has run.

        So it is for a plain client on a node of a cluster, which alone does not show. No key is taken to be together
        with another one from then on.
        """
        refused = [place for place, answer in enumerate(answers) if is_crossing(answer)]
        self._are_apart |= bool(refused)
        return refused

    def of(
        self,
        key: str,
        id: str,
        *,
        fence: Fence | None = None,
        counted: bool = False,
        counter: Counter | None = None,
        announced: Announcement | None = None,
        deletes: bool = False,
        links: Mapping[str, Strength] | None = None,
    ) -> Beside:
        """What goes with a write of the record `id` at `key`: a fence, its group's count, a counter of deletions, an
        entry in a log, its links where it `deletes` the record, and what `links` gain.
        """
        place = self._links_of(key, id) if deletes or links else None
        letters, keys, marks = "", [], []
        arguments: list[Argument] = []
        if fence is not None and self.are_together(key, fence.key):
            letters += "F"
            keys.append(fence.key)
            arguments += [str(fence.token)]
        elif fence is not None:
            letters += "f"
            arguments += [mark_of(fence), str(fence.token)]
            marks.append((mark_of(fence), fence.token))
        fields, counts_key = self._collection.group_fields, self._collection.counts_key
        if counted and fields and counts_key is not None:
            if self.are_together(key, counts_key):
                letters += "G"
                keys.append(counts_key)
            else:
                letters += "g"
            arguments += [id, str(len(fields)), *fields, str(self._collection.group_sets)]
        if counter is not None and self.are_together(key, counter.key):
            letters += "C"
            keys.append(counter.key)
            arguments.append(counter.field)
        if announced is not None and self.are_together(key, announced.log_key):
            letters += "L"
            keys.append(announced.log_key)
            arguments += _announcement(id, announced)
        if place is not None:
            letters += "N" if links else "K"
            keys.append("".join(place))
            arguments += (len(place[1].encode()), *_gains(key.removesuffix(place[1]), links or {}))
        return Beside(letters, tuple(keys), tuple(arguments), tuple(marks)) if letters else NOTHING

    def may_link(self, key: str, id: str) -> bool:
        """Whether a script about the record `id` at `key` may touch its links."""
        return self._links_of(key, id) is not None

    def keys_of(self, key: str, id: str) -> tuple[str, ...]:
        """The keys to delete with the whole collection, as far as one command may: the record's and its links'."""
        place = self._links_of(key, id)
        return (key,) if place is None else (key, "".join(place))

    def _links_of(self, key: str, id: str) -> tuple[str, str] | None:
        """Where the links of a record are, if a script about the record may touch them."""
        if self._collection.link_keys is None:
            return None
        prefix, own = self._collection.link_keys.place_of(id)
        is_together = not self._are_apart and share_a_slot(self._client, key, prefix + own, prefix=prefix)
        return (prefix, own) if is_together else None

    def after(self, id: str, answer: Any) -> list[Command]:
        """What is left to be counted once a script has answered with the groups that a record was of and is of."""
        counts_key = self._collection.counts_key
        if counts_key is None or not isinstance(answer, list) or len(answer) < 2 or isinstance(answer[1], int | None):
            return []
        before, now = answer[1], (answer[2] if len(answer) > 2 else None)
        script = load_script("correct_count")
        commands = []
        if before != now:
            commands.append(script.call(counts_key, [before, -1, ""]))
        if now is not None:
            is_last = before != now or answer[0] == Outcome.WRITTEN
            counting: list[Argument] = [now, 0 if before == now else 1, ""]
            commands.append(script.call(counts_key, [*counting, "", id] if is_last else counting))
        return commands


def _gains(records: str, links: Mapping[str, Strength]) -> list[Argument]:
    """What links to other records, whose keys begin with `records`, gain."""
    if not links:
        return []
    now_ms = max(strength.since_ms for strength in links.values())
    gains: list[Argument] = [now_ms, *LINK_MEASURES, records, len(links)]
    for other, strength in links.items():
        gains += (other, f"{strength.score:.17g}", strength.since_ms)
    return gains


def _announcement(id: str, announced: Announcement) -> list[Argument]:
    arguments = retention_arguments(announced.retention)
    said = announced.fields if announced.fields_if_changed is None else announced.fields_if_changed
    for entry in (announced.fields, said):
        flat: list[Argument] = [announced.id_field, id]
        for name, value in entry.items():
            flat += (name, value)
        arguments += [len(flat), *flat]
    return [*arguments, len(announced.copied), *announced.copied]


def retention_arguments(retention: Retention) -> list[Argument]:
    """What a log keeps, as scripts take it: how many entries, and how old they may be in ms, '' for any age."""
    age_seconds = retention.max_age_seconds
    return [retention.max_entries, "" if age_seconds is None else age_seconds * 1000]


def is_crossing(answer: Any) -> bool:
    """Whether a server has refused a command because its keys lie in different slots."""
    return isinstance(answer, Exception) and "CROSSSLOT" in str(answer)


def mark_of(fence: Fence) -> str:
    """The field of a record that keeps the largest token of this kind of lease that wrote it."""
    return f"__fence:{fence.key.rpartition(':')[2]}"


def outcome_in(answer: Any) -> Any:
    """The number that says what became of a record, alone or at the head of a list."""
    return answer[0] if isinstance(answer, list) else answer


def size_in(answer: Any) -> int | None:
    """How many records the group of the one just written has, where the script told it."""
    return answer[1] if isinstance(answer, list) and len(answer) > 1 and isinstance(answer[1], int) else None


def group_in(answer: Any) -> str | None:
    """The group that a record is of by now, where the script told it."""
    if not isinstance(answer, list) or len(answer) < 3:
        return None
    return answer[2].decode(errors="replace") if isinstance(answer[2], bytes) else str(answer[2])
