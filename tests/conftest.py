"""Fixtures that more than one room uses."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import valkey.asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from tests.clusters import SentinelSet, ValkeyCluster, on_a_cluster, with_sentinels
from tests.servers import ValkeyServer
from tests.tls import Certificates

if not os.environ.get("BETTERDB_TEST_EVERY_WAY"):
    hypothesis.settings.register_profile(
        "fewer",
        hypothesis.settings.default,
        max_examples=30,
        # By the clock of a busy machine, or by chance.
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
    )
    hypothesis.settings.load_profile("fewer")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell: the programs that tests interrupt would be deaf, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVER = pytest.StashKey[Any]()
"""A client of the server that the tests of this process share, if one has asked for it."""

CROWDED = 500
"""Keys with which a server is slow: it looks at every one there is for whoever makes an index."""

COLLECTED_AT = pytest.StashKey[float]()
"""When this process has last looked at all of its memory."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep those together that name a fixture of many servers; who asks for one while it runs says so by itself."""
    for item in items:
        wanted = getattr(item, "fixturenames", ())
        for fixture, mark in (("valkey_cluster", on_a_cluster), ("sentinel_set", with_sentinels)):
            if fixture in wanted:
                item.add_marker(mark)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leaves what stays for the whole session out of `pytest_runtest_teardown`'s collections."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Has what a module left open found with its own last test, not with whichever test runs at the next collection.

    Between modules only what is young is looked at, which most of it is, but for one in ten seconds: a whole collection
    takes 40 ms, a thousand of them a minute of a run.
    """
    if nextitem is None or nextitem.parent is not item.parent:
        stash = item.config.stash
        is_due = nextitem is None or monotonic() > stash.get(COLLECTED_AT, 0.0) + 10
        gc.collect(2 if is_due else 1)
        if is_due:
            stash[COLLECTED_AT] = monotonic()


@pytest.fixture(scope="session")
def valkey_server(request: pytest.FixtureRequest) -> Iterator[ValkeyServer]:
    """A real server with a search module, shared by the session and emptied between modules: use names of your own."""
    with ValkeyServer() as server:
        server.teach_scripts()
        client = request.config.stash[SERVER] = server.blocking_client()
        yield server
        client.close()


@pytest.fixture(scope="module", autouse=True)
def uncrowded_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Empties `valkey_server` behind a module if there is much on it."""
    yield
    client = request.config.stash.get(SERVER, None)
    if client is not None and client.dbsize() > CROWDED:
        client.flushall()


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[ValkeyCluster]:
    """A real cluster of three primaries with a replica each, shared by the session: leave it whole."""
    with ValkeyCluster() as cluster:
        for node in cluster.nodes:
            node.teach_scripts()
        yield cluster


@pytest.fixture(scope="session")
def sentinel_set() -> Iterator[SentinelSet]:
    """A primary, a replica and three sentinels, shared by the session."""
    with SentinelSet() as servers:
        for server in servers.servers:
            server.teach_scripts()
        yield servers


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What a server, its clients and a stranger show each other over TLS."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def forget_scripts(valkey_server: ValkeyServer) -> Iterator[Callable[[], None]]:
    """Has `valkey_server` forget every script, until the test is over."""
    client = valkey_server.blocking_client()
    yield client.script_flush
    client.close()
    valkey_server.teach_scripts()


@pytest.fixture
async def valkey_client(valkey_server: ValkeyServer) -> AsyncIterator[valkey.asyncio.Valkey]:
    """An asynchronous client of `valkey_server`, closed afterwards."""
    client = valkey_server.client()
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
def store_name() -> str:
    """A name that no other test uses."""
    return f"t{uuid4().hex}"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Holds every span that ends while the test runs."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


@pytest.fixture
def registry() -> CollectorRegistry:
    """Metrics of this test alone."""
    return CollectorRegistry()
