"""What URLs of clusters and sentinels may say, and what is said of those that cannot be used: no server needed."""

from __future__ import annotations

import pytest

from betterdb_agent_memory.engines import is_server_url, open_engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.cluster import ClusterClient
from betterdb_agent_memory.engines.valkey.slots import Address
from betterdb_agent_memory.engines.valkey.urls import client_from_url
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options.names import checked_name

SPELLINGS = [f"{base}+{kind}" for base in ("valkey", "valkeys", "redis", "rediss") for kind in ("cluster", "sentinel")]


@pytest.mark.parametrize("scheme", SPELLINGS)
def test_every_spelling_names_a_server(scheme: str) -> None:
    assert is_server_url(f"{scheme}://h:1/name")
    assert isinstance(open_engine(f"{scheme}://h:1,h:2/{'name' if 'sentinel' in scheme else ''}"), ValkeyEngine)
    assert isinstance(open_engine(f"{scheme.upper()}://h/{'name' if 'sentinel' in scheme else ''}"), ValkeyEngine)


def settings(url: str) -> tuple[tuple[Address, ...], dict[str, object], int, float | None]:
    client = client_from_url(url)
    assert isinstance(client, ClusterClient)
    made = client._nodes.settings
    return made.seeds, made.connection, made.max_connections, made.timeout


def test_a_cluster_has_the_settings_of_any_server() -> None:
    seeds, connection, limit, patience = settings("valkey+cluster://me:p%2Fw@one,two:7001,[::1]:7002")
    assert seeds == (Address("one", 6379), Address("two", 7001), Address("::1", 7002))
    assert str(seeds[2]) == "[::1]:7002"
    assert (connection["username"], connection["password"]) == ("me", "p/w")
    assert (connection["socket_connect_timeout"], connection["socket_timeout"]) == (5.0, 15.0)
    assert (limit, patience) == (64, 15.0)


def test_settings_in_the_url_win() -> None:
    _, connection, limit, patience = settings(
        "redis+cluster://h?max_connections=3&timeout=2&socket_timeout=1&protocol=3"
    )
    assert (connection["socket_timeout"], connection["protocol"], limit, patience) == (1.0, "3", 3, 2.0)


@pytest.mark.parametrize(
    "url",
    [
        "valkey+cluster://:SeCrEt@h:7000/1",
        "valkey+cluster://:SeCrEt@h?db=1",
        "valkey+cluster://:SeCrEt@h,",
        "valkey+cluster://:SeC/SeCrEt@h",
        "valkey+cluster://:SeCrEt@h:99999",
        "valkey+cluster://:SeCrEt@h:7000?nothing=SeCrEt",
        "valkey+cluster://:SeCrEt@::1:7000",
        "valkey+cluster://:SeCrEt@",
        "valkey+cluster://h:SeCrEt",
        "valkey+sentinel://:SeCrEt@h:1",
        "valkey+sentinel://:SeCrEt@h:1/",
        "valkey+sentinel://:SeC/SeCrEt@h:1/name",
        "valkey+sentinel://:SeCrEt@h:1/name/0",
        "valkey+sentinel://h:1/name?sentinel_pass=SeCrEt",
        "valkey+sentinel://h:1/name?socket_timeout=SeCrEt",
        "unix+cluster://:SeCrEt@h",
        "valkey+other://:SeCrEt@h",
    ],
)
def test_what_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        ValkeyEngine.from_url(url)
    assert "SeCrEt" not in f"{refusal.value!r} {refusal.value.__cause__!r}"


def test_a_scheme_that_is_forgotten_is_no_file() -> None:
    with pytest.raises(ConfigurationError, match="looks like a server"):
        is_server_url("valkey+cluster:h")


@pytest.mark.parametrize("url", ["valkey:/u:SeCrEt@h", "u:SeCrEt@h:1", ":SeCrEt@h/0", "redis:u:SeC@SeCrEt@h"])
def test_a_forgotten_scheme_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="looks like a server") as refusal:
        is_server_url(url)
    assert "SeC" not in str(refusal.value)


def test_a_file_may_have_an_at_sign() -> None:
    assert not is_server_url("me@home.db")
    assert not is_server_url("C:/me@home.db")


@pytest.mark.parametrize("name", ["{acme}", "eu:{acme}", "{acme}:eu", "a{b}c"])
def test_a_name_may_have_a_hash_tag(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["{}", "{}x", "a{", "a}", "}a{", "a{b}c{d}", "{{a}}", "{a}}"])
def test_braces_that_are_no_hash_tag_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="hash tag"):
        checked_name(name)
