"""Commands on a cluster: to the node that owns the key, side by side, answered in order.

`ClusterClient` has what `ValkeyClient` has and sends through one of these per node, so that the same rules hold: writes
are sent at most once, replies are bytes, a cancelled call leaves no reply behind. The cluster clients of the libraries
repeat what they have sent; here only what certainly has not run is sent again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from betterdb_agent_memory.engines.base import Traffic
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.cluster_listening import ClusterListener
from betterdb_agent_memory.engines.valkey.cluster_scanning import ClusterScan
from betterdb_agent_memory.engines.valkey.home import Home
from betterdb_agent_memory.engines.valkey.nodes import Nodes, Settings
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.patience import Patience
from betterdb_agent_memory.engines.valkey.routing import (
    Asked,
    Later,
    Moved,
    companions,
    is_search,
    key_of,
    name_of,
    verdict,
)
from betterdb_agent_memory.engines.valkey.slots import Address, SlotMap, hash_tag, slot_of
from betterdb_agent_memory.engines.valkey.topology import Topology
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    ConfigurationError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
)

NODES_AT_ONCE = 16
"""Nodes that one batch is sent to side by side."""

_ASKED_AT_ONCE = 100

_Verdict: TypeAlias = Moved | Asked | Later | None
_Send: TypeAlias = Callable[[ValkeyClient, Sequence[Command]], Awaitable[list[Any]]]


class ClusterClient:
    """Sends commands to the nodes of a cluster and counts requests, one for each node that a batch goes to.

    The map of the slots is read before the first command and whenever it misleads: one round trip more.
    """

    def __init__(self, settings: Settings, client: Any = None) -> None:
        self._client = client
        self._home = Home()
        self.traffic = Traffic()
        self._nodes = Nodes(settings, self.traffic)
        self._topology = Topology(self._nodes)
        self._keeps_apart: bool | None = None
        # Other workers ask other nodes about an index that all of them have.
        self._choice = random.random()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self._nodes.settings.seeds))})"

    @property
    def is_pooled(self) -> bool:
        """Whether it is known how this client reaches a server."""
        return True

    def are_together(self, *keys: str) -> bool:
        """Whether one script may touch all these keys: where they are in one slot."""
        return len(set(map(slot_of, keys))) <= 1

    async def ask(self, *command: Argument) -> Any:
        """The reply to a command that changes nothing, or that may happen twice. One round trip."""
        [reply] = await self.ask_many([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to commands that change nothing, in order; a refused one is an error in the list.

        One round trip per 500 and node. What a node could not answer is asked again for up to ten seconds.

        Raises:
            EngineUnavailableError: a node could not be reached in that time, or stopped answering.
        """
        replies = await self._replies(commands, _asked)
        for reply in replies:
            if isinstance(reply, EngineUnavailableError):
                raise reply
            if isinstance(reply, OutcomeUnknownError):
                raise EngineUnavailableError(f"no answer from the cluster: {reply}") from reply
        return replies

    async def tell_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send writes at most once; replies in order, an error in the list where one failed.

        One that certainly has not run is sent again for up to ten seconds, so that those about one key keep their
        order. A broken connection is in the list: OutcomeUnknownError where the write may have happened,
        EngineUnavailableError where it certainly has not. Round trips as `ask_many`, and one more for each 4 MB.
        """
        return await self._replies(commands, _told)

    async def scan(self, prefix: str, *, page_size: int, kind: str | None = None) -> AsyncIterator[list[bytes]]:
        """Pages of the keys that begin with `prefix`, of one `kind` (`hash`) or of all; some twice, pages may be empty.

        Every key that is there all the time comes, also if its slot moves meanwhile. Looks at all keys of every
        primary, one round trip per `page_size` of them; at those of one node, where the prefix has a hash tag. Begins
        again when the map of the slots has changed.

        Raises:
            EngineUnavailableError: a node cannot be reached, or slots move all the time.
        """
        self._home.require()
        async for keys in ClusterScan(self._topology, self._nodes, prefix, page_size, kind).pages():
            yield keys

    def listener(self) -> ClusterListener:
        """What hears of changed keys, from each node that owns some of them."""
        return ClusterListener(self._topology, self._nodes.settings)

    async def close(self, *, owned: bool = True) -> None:
        """Close the connections, and the user's client if it is `owned`; what is asked afterwards is refused."""
        self._home.close()
        await self._nodes.close()
        if owned and self._client is not None:
            await self._client.aclose()

    async def _replies(self, commands: Sequence[Command], send: _Send) -> list[Any]:
        """A reply to each command, after what had not run was sent again."""
        self._home.require()
        replies: list[Any] = [None] * len(commands)
        everything = waiting = list(range(len(commands)))
        # Who takes a command for the next try only, after ASK.
        asked: dict[int, Address] = {}
        beside = companions(commands)
        patience = Patience()
        while waiting:
            try:
                slots = await self._topology.current()
                if len(slots.primaries) == 1 and any(map(_is_everywhere, commands)):
                    await self._find_out_about_indexes(slots.primaries[0])
            except AgentMemoryError:
                # Nothing has happened yet; what has must be told.
                if waiting == everything:
                    raise
                break
            groups = self._groups(commands, waiting, beside, slots, asked)
            answered = await self._send_all(groups, commands, asked, send)
            for index in waiting:
                replies[index] = answered[index].reply
            verdicts = {index: _verdict(answered[index]) for index in waiting}
            self._learn(answered.values(), verdicts.values())
            waiting = _in_order(commands, waiting, verdicts, replies, is_write=send is _told)
            remap = self._nodes.settings.remap
            asked = {index: remap(said.owner) for index in waiting if isinstance(said := verdicts[index], Asked)}
            if waiting and not await patience.pause(
                needed=any(isinstance(verdicts[index], Later) for index in waiting)
            ):
                break
        return replies

    async def _find_out_about_indexes(self, node: Address) -> None:
        """Whether the only primary keeps each index in a slot, where no other node is there to say MOVED.

        RediSearch without its coordinator finds memories of other slots then, and returns them empty. One round trip,
        once.
        """
        if self._keeps_apart is None:
            [known] = await self._nodes[node].ask("COMMAND", "INFO", "FT.SEARCH")
            # The position of its first key: 0 where the index is no key.
            self._keeps_apart = known is not None and int(known[3]) > 0

    def _learn(self, answered: Iterable[_Answered], verdicts: Iterable[_Verdict]) -> None:
        """Where slots are by what was answered, and that the map is to be read again before the next command."""
        if any(isinstance(answer.reply, OutcomeUnknownError | EngineUnavailableError) for answer in answered):
            self._topology.suspect()
        for said in verdicts:
            if isinstance(said, Moved):
                self._topology.learn(said.slot, said.owner)
                self._topology.suspect_unless_young()

    def _groups(
        self,
        commands: Sequence[Command],
        waiting: Sequence[int],
        beside: Sequence[int | None],
        slots: SlotMap,
        asked: dict[int, Address],
    ) -> dict[Address | None, list[int]]:
        groups: dict[Address | None, list[int]] = {}
        for index in waiting:
            place = beside[index]
            node = asked.get(index) or self._node(slots, None if place is None else commands[place])
            groups.setdefault(node, []).append(index)
        return groups

    def _node(self, slots: SlotMap, command: Command | None) -> Address | None:
        """The node for a command; one that answers for all indexes, or says MOVED, where the index is in no slot."""
        primaries = slots.primaries
        key = None if command is None else key_of(command)
        if command is None or key is None:
            return primaries[int(self._choice * len(primaries))] if primaries else None
        owner = slots.owners[slot_of(key)]
        if not _is_everywhere(command) or len(primaries) < 2:
            return owner
        others = [node for node in primaries if node != owner]
        return others[int(self._choice * len(others))]

    async def _send_all(
        self,
        groups: dict[Address | None, list[int]],
        commands: Sequence[Command],
        asked: dict[int, Address],
        send: _Send,
    ) -> dict[int, _Answered]:
        """For each command its reply."""
        places = asyncio.Semaphore(NODES_AT_ONCE)

        async def one(node: Address | None, indices: list[int]) -> dict[int, _Answered]:
            if node is None:
                missing = EngineUnavailableError("no node owns the slot: the cluster does not cover all slots")
                return dict.fromkeys(indices, _Answered(missing, _NOBODY))
            apart = [index for index in indices if self._keeps_apart and _is_everywhere(commands[index])]
            plain = [index for index in indices if index not in asked and index not in apart]
            others = [index for index in indices if index in asked]
            async with places:
                answers = await send(self._nodes[node], [commands[index] for index in plain]) if plain else []
                answers += await self._ask_beyond(node, [commands[index] for index in others])
            in_doubt = any(isinstance(answer, OutcomeUnknownError) for answer in answers)
            answers += [_refusal(commands[index]) for index in apart]
            return {
                index: _Answered(_unless_refused(commands[index], answer, node), node, in_doubt)
                for index, answer in zip([*plain, *others, *apart], answers, strict=True)
            }

        if len(groups) == 1:
            [(node, indices)] = groups.items()
            return await one(node, indices)
        # Each to its end: a defect in one must not leave the others' replies unread.
        done = await asyncio.gather(*(one(*group) for group in groups.items()), return_exceptions=True)
        answered: dict[int, _Answered] = {}
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome
            answered |= outcome
        return answered

    async def _ask_beyond(self, node: Address, commands: Sequence[Command]) -> list[Any]:
        """Replies of the node that is taking a slot in: it answers what ASKING stands before, on one connection."""
        answers: list[Any] = []
        for start in range(0, len(commands), _ASKED_AT_ONCE):
            if answers and isinstance(answers[-1], OutcomeUnknownError | EngineUnavailableError):
                answers += [EngineUnavailableError("not sent: the connection broke earlier in this batch")] * (
                    len(commands) - len(answers)
                )
                break
            pairs = [part for command in commands[start : start + _ASKED_AT_ONCE] for part in (("ASKING",), command)]
            answers += (await self._nodes[node].tell_together(pairs))[1::2]
        return answers


_NOBODY = Address("", 0)


class _Answered(NamedTuple):
    """A reply, from whom, and whether a write of the same request is in doubt."""

    reply: Any
    node: Address
    in_doubt: bool = False


def _verdict(answered: _Answered) -> _Verdict:
    said = verdict(answered.reply, answered.node)
    # What was to follow a write in doubt does not overtake it.
    return None if answered.in_doubt and isinstance(said, Later) else said


async def _asked(client: ValkeyClient, commands: Sequence[Command]) -> list[Any]:
    """Answers to questions; an error for each where the node cannot be reached."""
    try:
        return await client.ask_many(commands)
    except EngineUnavailableError as error:
        return [error] * len(commands)


async def _told(client: ValkeyClient, commands: Sequence[Command]) -> list[Any]:
    return await client.tell_many(commands)


def _unless_refused(command: Command, answer: Any, node: Address) -> Any:
    """The answer, or that a server which keeps an index on one node only cannot search for a name in no slot."""
    if not isinstance(answer, Exception) or not _is_everywhere(command) or not isinstance(verdict(answer, node), Moved):
        return answer
    refusal = _refusal(command)
    refusal.__cause__ = answer
    return refusal


def _refusal(command: Command) -> ConfigurationError:
    index = _text(key_of(command))
    name = index.removesuffix(":mem:idx")
    return ConfigurationError(
        f"the search module of this cluster keeps the index {index!r} in one slot, and sees the memories of that slot "
        f'only: give the store a name with a hash tag, name="{{{name}}}", so that index and memories are in one slot'
    )


def _is_everywhere(command: Command) -> bool:
    """Whether a command is about an index in no slot, which all nodes must have."""
    return is_search(command) and hash_tag(_text(key_of(command))) is None


def _in_order(
    commands: Sequence[Command],
    waiting: Sequence[int],
    verdicts: dict[int, _Verdict],
    replies: list[Any],
    *,
    is_write: bool,
) -> list[int]:
    """Those to send again. A write that a later one about the same key has overtaken is not: its place is gone."""
    if not any(verdicts.values()):
        return []
    again: list[int] = []
    overtaken: set[Argument | None] = set()
    for index in reversed(waiting):
        key = key_of(commands[index])
        if verdicts[index] is None:
            overtaken.add(key)
        elif is_write and key in overtaken:
            replies[index] = EngineError(
                f"{name_of(commands[index])} was not done: while its slot moved, a later write about the key was"
            )
        else:
            again.append(index)
    again.reverse()
    return again


def _text(key: Argument | None) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)
