"""Holding a lease while long work goes on: renewed beside it, given back at its end."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

from betterdb_agent_memory.background import Periodic
from betterdb_agent_memory.engines.base import Fence, Leases
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import EngineError, LeaseHeldError, LeaseLostError

LEASE_SECONDS = 30.0
"""How long a worker that died goes on holding its lease."""

_RENEWALS = 4
"""Renewals within the time of a lease: three may fail before it is lost."""

_RETRY_SECONDS = 0.2
_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_under_way: set[asyncio.Task[Any]] = set()
"""Requests that go on when the task that made them is cancelled: asyncio itself keeps no task alive."""


class HeldLease:
    """`async with HeldLease(...)` for work that only one worker may do at a time.

    Renewed every quarter of its time, also while the work awaits something slow. The work calls `check`
    before each write. Waits up to `wait_seconds` for another holder. A key that is not `lasting` goes away with the
    lease, and its tokens begin anew: for one of many keys. Who is cancelled on the way in or out leaves nothing behind:
    a lease that comes too late is given back in the background.

    Raises, on entering:
        LeaseHeldError: another worker still holds it.
    """

    def __init__(
        self,
        leases: Leases,
        key: str,
        *,
        what: str,
        wait_seconds: float = 0.0,
        ttl_seconds: float = LEASE_SECONDS,
        lasting: bool = True,
    ) -> None:
        self._leases = leases
        self._key = key
        self._what = what
        self._wait_seconds = wait_seconds
        self._ttl_seconds = ttl_seconds
        self._lasting = lasting
        self._owner = str(uuid.uuid4())
        self._held_until = 0.0
        self._is_abandoned = False
        self._renewal = Periodic(self._renew, ttl_seconds / _RENEWALS, at_once=False)
        self.token: int | None = None
        """The fencing token: it grows with each holder."""

    async def __aenter__(self) -> HeldLease:
        deadline = monotonic() + self._wait_seconds
        while not await self._acquire():
            if monotonic() >= deadline:
                raise LeaseHeldError(
                    f"{self._what} is being done by another worker (lease {self._key}); try again when it has ended, "
                    f"or, if that worker died, in {self._ttl_seconds:.0f} s"
                )
            await asyncio.sleep(_RETRY_SECONDS)
        self._renewal.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held_until = 0.0
        await _done_all_the_same(self._give_back())

    @property
    def fence(self) -> Fence:
        """What goes with each write of the work, so that none happens once somebody else has the lease.

        Raises:
            LeaseLostError: the lease is not held, and never was.
        """
        if self.token is None:
            raise LeaseLostError(f"{self._what} has no lease {self._key} yet; enter it first")
        return Fence(self._key, self.token)

    def check(self) -> None:
        """Nothing while the lease is held for sure.

        Raises:
            LeaseLostError: it could not be renewed in time; another worker may have begun.
        """
        if monotonic() >= self._held_until:
            raise LeaseLostError(
                f"{self._what} stopped: its lease {self._key} could not be renewed within {self._ttl_seconds:.0f} s "
                "and another worker may have taken over; run it again"
            )

    async def write_map(self, key: str, fields: Fields) -> None:
        """Set fields of a map, unless somebody else has taken the lease since. One round trip.

        Raises:
            LeaseLostError: somebody has; nothing was written.
        """
        await self._leases.write_map(self.fence, key, fields)

    async def _acquire(self) -> bool:
        asked_at = monotonic()
        self._is_abandoned = False
        asking = _started(self._ask())
        try:
            self.token = await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._is_abandoned = True
            if asking.done():  # it came at the same moment
                await _done_all_the_same(self._give_back())
            raise
        if self.token is None:
            return False
        self._held_until = asked_at + self._ttl_seconds
        return True

    async def _ask(self) -> int | None:
        """Ask for the lease, and give it back if nobody waits for it any more."""
        try:
            token = await self._leases.acquire(
                self._key, self._owner, ttl_seconds=self._ttl_seconds, lasting=self._lasting
            )
        except asyncio.CancelledError:
            # The loop ends. What was sent or written may be carried out all the same.
            await self._give_back()
            raise
        except EngineError as failure:
            if not self._is_abandoned:
                raise
            _log.warning("lease %s, given up while it was asked for, may run out by itself: %s", self._key, failure)
            return None
        if self._is_abandoned and token is not None:
            await self._give_back()
        return token

    async def _give_back(self) -> None:
        await self._renewal.stop()
        try:
            await self._leases.release(self._key, self._owner)
        except EngineError as failure:
            _log.warning("lease %s could not be given back and runs out by itself: %s", self._key, failure)

    async def _renew(self) -> None:
        asked_at = monotonic()
        try:
            if await self._leases.renew(self._key, self._owner, ttl_seconds=self._ttl_seconds):
                self._held_until = asked_at + self._ttl_seconds
            else:
                self._held_until = 0.0
        except EngineError as failure:
            _log.warning("lease %s could not be renewed yet: %s", self._key, failure)


def _started(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    task = asyncio.get_running_loop().create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return task


async def _done_all_the_same(work: Coroutine[Any, Any, _T]) -> _T:
    """What comes of `work`. It goes on when the task that waits for it is cancelled."""
    return await asyncio.shield(_started(work))
