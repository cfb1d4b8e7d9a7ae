"""Holding a lease while long work goes on: renewed beside it, given back at its end."""

from __future__ import annotations

import asyncio
import logging
import uuid
from time import monotonic
from types import TracebackType

from betterdb_agent_memory.background import Periodic
from betterdb_agent_memory.engines.base import Leases
from betterdb_agent_memory.errors import EngineError, LeaseHeldError, LeaseLostError

LEASE_SECONDS = 30.0
"""How long a worker that died goes on holding its lease."""

_RENEWALS = 4
"""Renewals within the time of a lease: three may fail before it is lost."""

_RETRY_SECONDS = 0.2
_log = logging.getLogger(__name__)


class HeldLease:
    """`async with HeldLease(...)` for work that only one worker may do at a time.

    Renewed every quarter of its time, also while the work awaits something slow. The work calls `check`
    before each write. Waits up to `wait_seconds` for another holder. A key that is not `lasting` goes away with the
    lease, and its tokens begin anew: for one of many keys.

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
        await self._renewal.stop()
        self._held_until = 0.0
        try:
            await self._leases.release(self._key, self._owner)
        except EngineError as failure:
            _log.warning("lease %s could not be given back and runs out by itself: %s", self._key, failure)

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

    async def _acquire(self) -> bool:
        asked_at = monotonic()
        self.token = await self._leases.acquire(
            self._key, self._owner, ttl_seconds=self._ttl_seconds, lasting=self._lasting
        )
        if self.token is None:
            return False
        self._held_until = asked_at + self._ttl_seconds
        return True

    async def _renew(self) -> None:
        asked_at = monotonic()
        try:
            if await self._leases.renew(self._key, self._owner, ttl_seconds=self._ttl_seconds):
                self._held_until = asked_at + self._ttl_seconds
            else:
                self._held_until = 0.0
        except EngineError as failure:
            _log.warning("lease %s could not be renewed yet: %s", self._key, failure)
