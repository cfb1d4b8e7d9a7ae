"""A session cache against a plain dictionary."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Session
from tests.servers import ValkeyServer

THREADS = ["a", "a:b", "a:b:c", "b", "", ":"]
FIELDS = ["f", "b:f", "b:c:f", "c:f", "", "checkpoint:1", "f:"]


class AgainstADictionary(RuleBasedStateMachine):
    """Does the same to a session cache and to a dictionary from key to (thread, field, value)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: Session) -> None:
        super().__init__()
        self._loop = loop
        self._session = session
        self._model: dict[str, tuple[str, str, str]] = {}

    def teardown(self) -> None:
        self._loop.run_until_complete(self._session.deferred.close())

    def _run(self, call: Any) -> Any:
        return self._loop.run_until_complete(call)

    def _thread(self, thread: str) -> dict[str, str]:
        return {field: value for owner, field, value in self._model.values() if owner == thread}

    @rule(thread=st.sampled_from(THREADS), field=st.sampled_from(FIELDS), value=st.text(max_size=3))
    def set(self, thread: str, field: str, value: str) -> None:
        self._run(self._session.cache.set(thread, field, value))
        self._model[f"{thread}:{field}"] = (thread, field, value)

    @rule(thread=st.sampled_from(THREADS), fields=st.lists(st.sampled_from(FIELDS), unique=True, max_size=4))
    def set_many(self, thread: str, fields: list[str]) -> None:
        self._run(self._session.cache.set_many(thread, dict.fromkeys(fields, "many")))
        self._model.update({f"{thread}:{field}": (thread, field, "many") for field in fields})

    @rule(thread=st.sampled_from(THREADS), field=st.sampled_from(FIELDS))
    def get(self, thread: str, field: str) -> None:
        assert self._run(self._session.cache.get(thread, field)) == self._thread(thread).get(field)

    @rule(thread=st.sampled_from(THREADS), field=st.sampled_from(FIELDS))
    def delete(self, thread: str, field: str) -> None:
        there = field in self._thread(thread)
        assert self._run(self._session.cache.delete(thread, field)) is there
        if there:
            del self._model[f"{thread}:{field}"]

    @rule(thread=st.sampled_from(THREADS), scan=st.sampled_from([None, True, False]))
    def get_all(self, thread: str, scan: bool | None) -> None:
        assert self._run(self._session.cache.get_all(thread, scan=scan)) == self._thread(thread)

    @rule(thread=st.sampled_from(THREADS), prefix=st.sampled_from(["", "b", "b:", "c"]))
    def scan_fields_by_prefix(self, thread: str, prefix: str) -> None:
        expected = {field: value for field, value in self._thread(thread).items() if field.startswith(prefix)}
        assert self._run(self._session.cache.scan_fields_by_prefix(thread, prefix)) == expected

    @rule(thread=st.sampled_from(THREADS))
    def touch(self, thread: str) -> None:
        self._run(self._session.cache.touch(thread))

    @rule(thread=st.sampled_from(THREADS))
    def destroy_thread(self, thread: str) -> None:
        assert self._run(self._session.cache.destroy_thread(thread)) == len(self._thread(thread))
        self._model = {key: row for key, row in self._model.items() if row[0] != thread}

    @rule()
    def somebody_else_writes(self) -> None:
        """In another thread, which makes every index incomplete."""
        self._run(self._session.count_foreign(writes=1))

    @precondition(lambda self: self._model)
    @rule()
    def a_value_is_lost(self) -> None:
        """An expiry, or a bare DEL."""
        thread, field, _ = self._model.pop(min(self._model))
        self._run(self._session.remove_bare(thread, field))

    @invariant()
    def as_many_keys(self) -> None:
        """Nothing is left that no thread has."""
        pages = self._session.engine.values.scan_keys(f"{self._session.name}:session:")

        async def count() -> int:
            return sum([len(page) async for page in pages])

        assert self._run(count()) == len(self._model)


@pytest.mark.parametrize("place", ["server", "file"])
def test_a_session_cache_is_a_dictionary_of_dictionaries(
    place: str, valkey_server: ValkeyServer, tmp_path: Path, store_name: str
) -> None:
    loop = asyncio.new_event_loop()
    engine: Engine = (
        ValkeyEngine.from_url(valkey_server.url) if place == "server" else EmbeddedEngine(tmp_path / "memory.db")
    )
    numbers = itertools.count()

    class OfItsOwnName(AgainstADictionary):
        def __init__(self) -> None:
            super().__init__(loop, Session(engine, f"{store_name}{next(numbers)}", None))

    try:
        run_state_machine_as_test(
            OfItsOwnName,
            settings=settings(
                max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
    finally:
        loop.run_until_complete(engine.close())
        loop.close()
