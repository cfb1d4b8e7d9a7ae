"""How long results of single tools are kept: the map `{name}:__tool_policies`, read again and again.

An operator, the Monitor or any worker writes it; every worker follows within one interval.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from betterdb_agent_memory.background import LoopLock
from betterdb_agent_memory.caches.results import checked_ttl
from betterdb_agent_memory.caches.tool_names import checked_tool_name, encodable_tool_name
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import EngineError, InvalidInputError
from betterdb_agent_memory.live_config import Listen, Rereading

_log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 30.0
"""How often the map is read when nothing else is said."""

FIRST_READ_SECONDS: Final = 2.0
"""For so long at most a result waits to be stored until the policies are known."""

MIN_REFRESH_SECONDS: Final = 1.0
"""It is never read more often than this; a smaller interval is raised to it."""

"""Half a character, which UTF-8 cannot hold."""


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """What holds for one tool: results are kept for `ttl` seconds, a whole number from 1.

    Raises:
        InvalidInputError: `ttl` cannot be used.
    """

    ttl: int

    def __post_init__(self) -> None:
        ttl = checked_ttl("ttl of a policy", self.ttl)
        if ttl is None:
            raise InvalidInputError("a policy needs a ttl in whole seconds; without a policy the default applies")
        object.__setattr__(self, "ttl", ttl)


def policies_key(name: str) -> str:
    """Where the policies of all workers of one name are."""
    return f"{name}:__tool_policies"


def encode_policy(policy: ToolPolicy) -> bytes:
    """The stored text, as the TypeScript package writes it.

    >>> encode_policy(ToolPolicy(5))
    b'{"ttl":5}'
    """
    return json.dumps({"ttl": policy.ttl}, separators=(",", ":")).encode()


def decode_policy(value: bytes) -> ToolPolicy:
    """The policy in a stored text: a JSON object with a `ttl`; blanks and further members do no harm.

    Raises:
        InvalidInputError: it is something else.
    """
    try:
        entry = json.loads(value.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"it is no JSON: {error}") from error
    if not isinstance(entry, dict) or "ttl" not in entry:
        raise InvalidInputError('it is no JSON object with a "ttl"')
    ttl = entry["ttl"]
    # JSON knows one kind of numbers: 60.0 is whole.
    return ToolPolicy(int(ttl) if isinstance(ttl, float) and ttl.is_integer() else ttl)


def decode_policies(fields: Mapping[str, bytes]) -> tuple[dict[str, ToolPolicy], dict[str, str]]:
    """The policies of the whole map, and, for the tools whose entries cannot be used, why not."""
    policies: dict[str, ToolPolicy] = {}
    unusable: dict[str, str] = {}
    for tool, value in fields.items():
        try:
            policies[checked_tool_name(tool)] = decode_policy(value)
        except InvalidInputError as error:
            unusable[tool] = str(error)
    return policies, unusable


class _Write(NamedTuple):
    """A change of this process: what it wrote, None for a policy taken away, and when it was done."""

    policy: ToolPolicy | None
    done_at: int


class ToolPolicies:
    """The policies in force: always one whole map as it was at one time, with this process's own changes since.

    With `listen`, an engine's `watch`, the map is read soon after it changed as well.

    A read that failed leaves them as they are and is counted, and so is each entry that cannot be used.

    Every read and every change has its place in one order, in which a read stands where it was *sent* and
    a change where it was *answered*. A read therefore never undoes a change that it may not have seen, nor
    what a read sent after it found.
    """

    def __init__(
        self,
        name: str,
        *,
        values: Values,
        watch: CacheWatch,
        interval_seconds: float = REFRESH_SECONDS,
        listen: Listen | None = None,
    ) -> None:
        self._key = policies_key(name)
        self._values = values
        self._watch = watch
        self._rereading = Rereading(
            self._refresh, max(interval_seconds, MIN_REFRESH_SECONDS), keys=[self._key], listen=listen
        )
        self._order = itertools.count(1)
        self._read_at = 0
        self._is_started = False
        self._is_known = False
        self._written: dict[str, _Write] = {}
        self._writing = LoopLock()
        self._reported: dict[str, bytes] = {}
        self.current: Mapping[str, ToolPolicy] = {}
        """Policy by tool. It is replaced as a whole and never changed."""
        self.unusable: Mapping[str, str] = {}
        """Why the entries of these tools were ignored by the last read."""
        self.refresh_failures = 0
        """Reads that failed so far."""

    async def set(self, tool: str, policy: ToolPolicy) -> None:
        """Write a policy, then apply it here; other workers follow within their interval. One round trip.

        Raises:
            InvalidInputError: the tool's name or the policy cannot be used; nothing was written.
            EngineError: it was not written, or, for an OutcomeUnknownError, perhaps; the next read says.
        """
        tool, policy = checked_tool_name(tool), ToolPolicy(policy.ttl)
        # One change at a time: of two at once nobody could say which one the server took last.
        async with self._writing:
            await self._values.write_map(self._key, {tool: encode_policy(policy)})
            self._apply(tool, policy)

    async def remove(self, tool: str) -> bool:
        """Take a policy away, so that the default applies again; true when there was one. One round trip.

        Also that of a name that no tool can have, which somebody may have written.

        Raises:
            InvalidInputError: the name is no text.
            EngineError: it was not taken away, or, for an OutcomeUnknownError, perhaps; the next read says.
        """
        tool = encodable_tool_name(tool)
        async with self._writing:
            removed = await self._values.remove_fields(self._key, [tool])
            self._apply(tool, None)
        return removed > 0

    async def refresh(self) -> bool:
        """Read the map now; false when that failed, which leaves the policies as they are. One round trip."""
        sent_at = next(self._order)
        try:
            fields = await self._values.read_map(self._key)
        except EngineError as error:
            self.refresh_failures += 1
            self._watch.background_failed("policies")
            _log.warning("the tool policies in %s could not be read, the last ones stay: %s", self._key, error)
            return False
        self._is_known = True
        if sent_at > self._read_at:
            self._take(fields, sent_at)
        return True

    def reset(self) -> None:
        """Forget all policies here, for a cache that was flushed; what is on its way from before is not applied."""
        self._read_at = next(self._order)
        self._written = {}
        self.current = {}

    def start(self) -> None:
        """Read now and then in the background; needs a running loop, does nothing a second time."""
        self._is_started = True
        self._rereading.start()

    async def wait_read(self) -> None:
        """Wait until the background has read, or failed to read, for the first time."""
        await self._rereading.wait_read()

    async def wait_known(self) -> None:
        """Wait until the background has read, or failed to read, once. Nothing where it reads nothing.

        For two seconds at most, and never again: what is done with the policies goes on without them then,
        and that is counted.
        """
        if self._is_known or not self._is_started:
            return
        try:
            await asyncio.wait_for(self._rereading.wait_read(), FIRST_READ_SECONDS)
        except TimeoutError:
            self._watch.background_failed("policies")
            _log.warning("the tool policies in %s are not known yet, the default TTL applies", self._key)
        self._is_known = True

    async def stop(self) -> None:
        """End the background reads, and the wait for the first one."""
        self._is_started = False
        await self._rereading.stop()

    async def _refresh(self) -> None:
        await self.refresh()

    def _apply(self, tool: str, policy: ToolPolicy | None) -> None:
        self._written[tool] = _Write(policy, next(self._order))
        self.current = _overlaid(self.current, self._written)
        if self._is_started:
            # Another worker's later change may have been read while ours was on its way, and been hidden by it.
            self._rereading.read_soon()

    def _take(self, fields: Mapping[str, bytes], sent_at: int) -> None:
        self._read_at = sent_at
        policies, self.unusable = decode_policies(fields)
        self._report(fields)
        # What was done before the read was sent is in it; a read still to come was sent later than this one.
        self._written = {tool: write for tool, write in self._written.items() if write.done_at > sent_at}
        self.current = _overlaid(policies, self._written)

    def _report(self, fields: Mapping[str, bytes]) -> None:
        for tool, reason in self.unusable.items():
            if self._reported.get(tool) != fields[tool]:
                self._watch.corrupt("policy")
                _log.warning("the policy of tool %r in %s is ignored: %s", tool, self._key, reason)
        self._reported = {tool: fields[tool] for tool in self.unusable}


def _overlaid(policies: Mapping[str, ToolPolicy], written: Mapping[str, _Write]) -> dict[str, ToolPolicy]:
    changed = {tool: write.policy for tool, write in written.items()}
    return {tool: policy for tool, policy in {**policies, **changed}.items() if policy is not None}
