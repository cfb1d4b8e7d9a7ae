"""TLS with certificates on both sides: what is in order works, what is not is said, and no password is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, EngineUnavailableError
from tests.servers import ValkeyServer
from tests.tls import Certificates, Terminator


@pytest.fixture(scope="module")
def terminator(valkey_server: ValkeyServer, certificates: Certificates) -> Iterator[Terminator]:
    with Terminator(valkey_server.port, certificates) as terminator:
        yield terminator


async def refusal(url: str) -> AgentMemoryError:
    engine = ValkeyEngine.from_url(url)
    try:
        with pytest.raises(EngineUnavailableError) as caught:
            await engine.values.set("x", b"1")
    finally:
        await engine.close()
    assert "SeCrEt" not in f"{caught.value!r} {caught.value.__cause__!r} {engine!r}"
    return caught.value


@pytest.mark.parametrize("scheme", ["valkeys", "rediss"])
async def test_certificates_that_are_in_order(
    terminator: Terminator, certificates: Certificates, store_name: str, scheme: str
) -> None:
    engine = ValkeyEngine.from_url(f"{scheme}://127.0.0.1:{terminator.port}?{certificates.settings}")
    await engine.values.set(store_name, b"1")
    assert await engine.values.get(store_name) == b"1"
    await engine.close()


async def test_a_server_that_an_unknown_authority_vouches_for(
    terminator: Terminator, certificates: Certificates
) -> None:
    settings = Certificates.query(certificates.stranger, certificates.client_certificate, certificates.client_key)
    told = await refusal(f"valkeys://:SeCrEt@127.0.0.1:{terminator.port}?{settings}")
    assert "certificate verify failed" in str(told)


async def test_a_server_of_another_name(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    elsewhere = Certificates(tmp_path, host="elsewhere.example")
    with Terminator(valkey_server.port, elsewhere) as terminator:
        told = await refusal(f"valkeys://:SeCrEt@127.0.0.1:{terminator.port}?{elsewhere.settings}")
        assert "IP address mismatch" in str(told)
        for chosen in ("ssl_check_hostname=false", "ssl_cert_reqs=none"):
            engine = ValkeyEngine.from_url(f"valkeys://127.0.0.1:{terminator.port}?{elsewhere.settings}&{chosen}")
            assert await engine.values.get("nothing") is None
            await engine.close()


@pytest.mark.parametrize("shown", ["nothing", "a stranger's"])
async def test_a_client_that_the_server_does_not_know(
    terminator: Terminator, certificates: Certificates, shown: str
) -> None:
    own = (None, None) if shown == "nothing" else (certificates.stranger_certificate, certificates.stranger_key)
    told = await refusal(
        f"valkeys://:SeCrEt@127.0.0.1:{terminator.port}?{Certificates.query(certificates.authority, *own)}"
    )
    assert "certificate" in str(told)


def test_a_file_that_is_not_there_is_told_before_anything_is_sent(certificates: Certificates, tmp_path: Path) -> None:
    settings = Certificates.query(certificates.authority, tmp_path / "none.pem", tmp_path / "none.key")
    with pytest.raises(ConfigurationError, match="ssl_"):
        ValkeyEngine.from_url(f"valkeys://:SeCrEt@127.0.0.1:1?{settings}")


async def test_a_server_that_speaks_no_tls(valkey_server: ValkeyServer, certificates: Certificates) -> None:
    told = await refusal(
        f"valkeys://:SeCrEt@127.0.0.1:{valkey_server.port}?{certificates.settings}&socket_connect_timeout=1"
    )
    assert "TLS" in str(told)
