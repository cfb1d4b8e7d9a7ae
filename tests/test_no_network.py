"""No phone home: the library opens no connection that the user did not configure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ValkeyServer

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "examples" / "demo.py"

# Refuses every socket that leads anywhere but to loopback, and notes each one.
GUARD = """
import json, os, socket, sys
seen = []
LOOPBACK = ("127.0.0.1", "::1", "localhost", None)
def guard(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else str(address)
        seen.append(host)
        if isinstance(address, tuple) and host not in LOOPBACK:
            raise PermissionError(f"connection to {host} was tried")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and arguments[0] not in LOOPBACK:
        raise PermissionError(f"address of {arguments[0]} was asked for")
sys.addaudithook(guard)
import atexit
atexit.register(lambda: open(os.environ["SEEN"], "a").write(json.dumps(seen) + "\\n"))
"""


def run_demo(tmp_path: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    seen = tmp_path / "seen"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "BETTERDB_")) and name != "PYTHONPATH"
    } | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "SEEN": str(seen), "HOME": str(tmp_path)}
    finished = subprocess.run(
        [*prefix, sys.executable, str(DEMO), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    connections = [host for line in seen.read_text().splitlines() for host in json.loads(line)]
    return finished.stdout, connections


def test_the_demo_on_a_file_opens_no_connection_at_all(tmp_path: Path) -> None:
    output, connections = run_demo(tmp_path)
    assert "go live" in output
    assert connections == []


def test_the_demo_on_a_file_runs_where_there_is_no_network(tmp_path: Path) -> None:
    """In a network namespace of its own even native code finds nobody to talk to."""
    unshare = shutil.which("unshare")
    alone = (str(unshare), "--net", "--map-root-user")
    if unshare is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us make a network namespace")
    output, _ = run_demo(tmp_path, prefix=alone)
    assert "go live" in output


def test_the_demo_on_a_server_connects_to_that_server_only(tmp_path: Path, valkey_server: ValkeyServer) -> None:
    output, connections = run_demo(tmp_path, "--url", valkey_server.url, "--fresh")
    assert "go live" in output
    assert set(connections) == {"127.0.0.1"}
