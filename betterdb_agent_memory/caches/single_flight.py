"""One caller works and the others get what comes of it: by a future in this process, by a lease beyond it.

The idea is Go's `singleflight`, carried over to processes that share nothing but an engine.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

from betterdb_agent_memory.caches.watch import CacheWatch, Role
from betterdb_agent_memory.engines.base import Leases
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import EngineError, InvalidInputError, LeaseHeldError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.options import is_number

LEASE_SECONDS = 10.0
WAIT_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
LEASE_PAUSE_SECONDS = 1.0
"""Between two attempts to get a lease that another holds; shorter where the lease itself is short."""
FIRST_REFRESH_PAUSE_SECONDS = 1
LONGEST_REFRESH_PAUSE_SECONDS = 60

_SHORTEST_LEASE_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_MOST_PAUSES = 10_000
_MOST_FAILURES = 99
"""How far failures in a row are counted: far beyond the longest pause."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """`lease_seconds` (from 0.1) is how long a worker that died goes on being waited for, `wait_seconds`
    (from 0) how long one that works is, before a caller works itself.

    Raises:
        InvalidInputError: one of them is no such number.
    """

    lease_seconds: float = LEASE_SECONDS
    wait_seconds: float = WAIT_SECONDS

    def __post_init__(self) -> None:
        for name, least in (("lease_seconds", _SHORTEST_LEASE_SECONDS), ("wait_seconds", 0.0)):
            value = getattr(self, name)
            if not is_number(value) or not least <= value <= 1e9:
                raise InvalidInputError(f"{name} must be a number of seconds from {least:g}, got {value!r:.80}")


class Shared(NamedTuple, Generic[_T]):
    """What came of it, and whether somebody else had worked for it."""

    value: _T
    by_another: bool


class SingleFlight(Generic[_T]):
    """At most one worker per key among all callers that share an engine, as long as its leases hold.

    `look` reads what another worker may have left (None: nothing), `work` makes it and leaves it where
    `look` finds it. Best effort: with an engine that cannot be reached, one caller per process works.
    """

    def __init__(self, leases: Leases, watch: CacheWatch) -> None:
        self._leases = leases
        self._watch = watch
        self._flights: dict[tuple[asyncio.AbstractEventLoop, str], _Flight[_T]] = {}

    async def run(
        self,
        key: str,
        *,
        look: Callable[[], Awaitable[_T | None]],
        work: Callable[[], Awaitable[_T]],
        patience: Patience,
    ) -> Shared[_T]:
        """What `work` or another worker made.

        An error of `work` reaches those who wait in this process; elsewhere the next one works. When the
        task of a worker is cancelled, another one that waits takes its place.
        Round trips beside those of `look` and `work`: 2. Who waits for another process looks every 20 to
        500 ms, and asks for its lease once a second.
        """
        started = monotonic()
        place = (asyncio.get_running_loop(), key)
        while (flight := self._flights.get(place)) is not None:
            if not await flight.lands(started, patience.wait_seconds):
                return await self._alone(work)
            if not flight.landing.cancelled():
                self._watch.single_flight("follower")
                return Shared(flight.landing.result(), by_another=True)
        with self._taking_off(place) as flight:
            shared = await self._lead(flight, key, look, work, patience)
            flight.landing.set_result(shared.value)
            return shared

    async def refresh(
        self,
        key: str,
        *,
        look: Callable[[], Awaitable[_T | None]],
        work: Callable[[], Awaitable[_T]],
        patience: Patience,
        may_work: Callable[[], Awaitable[bool]] | None = None,
    ) -> bool:
        """Work unless somebody does already, or has just done; whether `work` was done. Waits for nobody.

        `may_work` is asked once nobody else can work. Round trips beside those of `look`, `work` and `may_work`: 2,
        or 1 when another process works.

        Raises:
            EngineError: the lease could not be asked for; nothing was done.
        """
        place = (asyncio.get_running_loop(), key)
        if place in self._flights:
            return False
        with self._taking_off(place) as flight:
            async with AsyncExitStack() as held:
                try:
                    await held.enter_async_context(self._lease(key, patience))
                except LeaseHeldError:
                    return False  # those who joined meanwhile wait for the holder themselves
                if may_work is not None and not await may_work():
                    return False  # and work themselves
                value = await look()
                if value is None:
                    flight.working_since = monotonic()
                    self._watch.single_flight("leader")
                    flight.landing.set_result(await work())
                    return True
                flight.landing.set_result(value)
                return False

    async def _lead(
        self,
        flight: _Flight[_T],
        key: str,
        look: Callable[[], Awaitable[_T | None]],
        work: Callable[[], Awaitable[_T]],
        patience: Patience,
    ) -> Shared[_T]:
        """On behalf of this process: wait for the lease, or for what its holder makes."""
        deadline = monotonic() + patience.wait_seconds
        lease = self._lease(key, patience)
        pauses = _pauses()
        role: Role = "leader"
        while True:
            async with AsyncExitStack() as held:
                try:
                    await held.enter_async_context(lease)
                    value = await look()
                except LeaseHeldError:
                    role = "takeover"
                except EngineError:
                    self._watch.background_failed("single_flight")
                    role = "alone"
                    break
                else:
                    return await self._with_lease(flight, value, work, role)
            if monotonic() >= deadline:
                role = "alone"
                break
            pause = min(LEASE_PAUSE_SECONDS, patience.lease_seconds / 2)
            value = await self._watch_for(look, pauses, min(deadline, monotonic() + pause))
            if value is not None:
                self._watch.single_flight("follower")
                return Shared(value, by_another=True)
        flight.working_since = monotonic()
        return await self._alone(work)

    async def _with_lease(
        self, flight: _Flight[_T], value: _T | None, work: Callable[[], Awaitable[_T]], role: Role
    ) -> Shared[_T]:
        # Between our look-up and the lease another worker may have come and gone.
        if value is not None:
            self._watch.single_flight("follower")
            return Shared(value, by_another=True)
        flight.working_since = monotonic()
        self._watch.single_flight(role)
        return Shared(await work(), by_another=False)

    async def _watch_for(
        self, look: Callable[[], Awaitable[_T | None]], pauses: Iterator[float], until: float
    ) -> _T | None:
        """What another worker leaves meanwhile; None when it is time to ask for the lease again."""
        while True:
            await asyncio.sleep(min(next(pauses), max(0.0, until - monotonic())))
            try:
                value = await look()
            except EngineError:
                return None  # the lease is asked for next: that says whether the engine can be reached
            if value is not None or monotonic() >= until:
                return value

    async def _alone(self, work: Callable[[], Awaitable[_T]]) -> Shared[_T]:
        self._watch.single_flight("alone")
        return Shared(await work(), by_another=False)

    def _lease(self, key: str, patience: Patience) -> HeldLease:
        return HeldLease(
            self._leases, key, what=f"the work for {key}", ttl_seconds=patience.lease_seconds, lasting=False
        )

    @contextmanager
    def _taking_off(self, place: tuple[asyncio.AbstractEventLoop, str]) -> Iterator[_Flight[_T]]:
        flight = self._flights[place] = _Flight(place[0].create_future())
        try:
            yield flight
        except Exception as error:
            if not flight.landing.done():
                flight.landing.set_exception(error)
                flight.landing.exception()  # it is raised here; asyncio need not miss others who would take it
            raise
        finally:
            del self._flights[place]
            flight.landing.cancel()  # only when nothing came of it


class _Pause(NamedTuple):
    failures: int
    until: float


class RefreshPauses:
    """How long the next refresh of a key waits after those that brought nothing.

    1 s after the first failure, twice as long after each further one in a row, 60 s at most.

    `{key}:failed` in the engine tells other workers of it: the number of failures, gone when the pause is over.
    A worker that meets it pauses too and counts on from there.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._pauses: dict[str, _Pause] = {}

    def is_over(self, key: str) -> bool:
        """Whether this process knows of no pause. No round trip."""
        pause = self._pauses.get(key)
        return pause is None or monotonic() >= pause.until

    async def is_over_everywhere(self, key: str) -> bool:
        """Whether no other worker has begun one either. One round trip."""
        written = await self._values.get(_told_at(key))
        if written is None:
            return True
        self._pause(key, int(written) if re.fullmatch(rb"[1-9][0-9]?", written) else 1)
        return False

    async def begin(self, key: str) -> None:
        """Pause after one more failure. One round trip; when it fails, this process pauses alone."""
        last = self._pauses.get(key)
        # Failures long ago are none in a row.
        in_a_row = last.failures if last and monotonic() < last.until + LONGEST_REFRESH_PAUSE_SECONDS else 0
        failures = min(in_a_row + 1, _MOST_FAILURES)
        with suppress(EngineError):
            await self._values.set(_told_at(key), b"%d" % failures, ttl_seconds=_pause_seconds(failures))
        # From now on, so that one's own word to the others is gone when it is over.
        self._pause(key, failures)

    async def end(self, key: str) -> None:
        """Forget the failures: it has worked. One round trip where this process knows of some, else none."""
        if self._pauses.pop(key, None) is not None:
            with suppress(EngineError):
                await self._values.delete(_told_at(key))

    def _pause(self, key: str, failures: int) -> None:
        if len(self._pauses) >= _MOST_PAUSES:
            self._pauses = {other: pause for other, pause in self._pauses.items() if monotonic() < pause.until}
        self._pauses[key] = _Pause(failures, monotonic() + _pause_seconds(failures))


class _Flight(Generic[_T]):
    """The work of one caller, as the others of its loop see it: `landing` is cancelled when it was given up."""

    __slots__ = ("landing", "working_since")

    def __init__(self, landing: asyncio.Future[_T]) -> None:
        self.landing = landing
        self.working_since: float | None = None

    async def lands(self, started: float, wait_seconds: float) -> bool:
        """Whether it comes to an end before somebody has waited `wait_seconds` for the work itself.

        As long as the one who leads waits for another process, all of its process wait with it, and a little
        longer: when that takes too long, one of them works and not every one.
        """
        while True:
            since = self.working_since
            until = started + _GRACE_SECONDS if since is None else max(started, since)
            left = until + wait_seconds - monotonic()
            if left <= 0:
                return False
            await asyncio.wait([self.landing], timeout=min(left, max(wait_seconds, FIRST_PAUSE_SECONDS)))
            if self.landing.done():
                return True


def _pauses() -> Iterator[float]:
    """Seconds between two looks: longer each time, and never the same for all who wait."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield longest * random.uniform(0.5, 1.0)
        longest = min(longest * 1.5, LONGEST_PAUSE_SECONDS)


def _told_at(key: str) -> str:
    return f"{key}:failed"


def _pause_seconds(failures: int) -> int:
    return int(min(FIRST_REFRESH_PAUSE_SECONDS * 2.0 ** (failures - 1), LONGEST_REFRESH_PAUSE_SECONDS))
