"""The command as a user runs it: a process of its own, an empty home, nothing in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from betterdb_agent_memory.apps.cli.app import PROGRAM, app, hoisted
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, which is one JSON document."""
        return json.loads(self.out)


Run = Callable[..., Outcome]

made_command = lru_cache(typer.main.get_command)
"""Commands and options as Typer makes them of functions: 70 ms, which its runner spends anew on every run."""


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BETTERDB_", "XDG_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    kept |= {"HOME": str(home), "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "COLUMNS": "120", "TERM": "dumb"}
    return kept | more


@pytest.fixture
def run_process(tmp_path: Path) -> Run:
    """Runs `betterdb-memory` as a process in an empty folder: `run_process("recall", "tea", given="...")`."""

    def run(*arguments: str, given: str = "", env: dict[str, str] | None = None) -> Outcome:
        finished = subprocess.run(
            [sys.executable, "-W", "error", "-m", "betterdb_agent_memory", *arguments],
            cwd=tmp_path,
            env=environment(tmp_path, **(env or {})),
            input=given,
            capture_output=True,
            encoding="utf-8",
            timeout=90,
            check=False,
        )
        return Outcome(finished.returncode, finished.stdout, finished.stderr)

    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same within this process, which is a second faster."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("BETTERDB_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("typer.testing._get_command", made_command, raising=False)

    def run(*arguments: str, given: str = "", env: dict[str, str] | None = None) -> Outcome:
        settings = {"HOME": str(tmp_path), "COLUMNS": "120", "TERM": "dumb", **(env or {})}
        result = CliRunner().invoke(app, hoisted(arguments), input=given, env=settings, prog_name=PROGRAM)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, valkey_server: ValkeyServer, store_name: str) -> list[str]:
    """Options that name a store that is empty: on each engine."""
    url = str(tmp_path / "m.db") if request.param == "file" else valkey_server.url
    return ["--url", url, "--name", store_name]
