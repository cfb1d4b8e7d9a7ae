"""docs/cli.md: its session runs and prints what it shows, and its tables say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from betterdb_agent_memory.apps.cli.app import app
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.memory.results import MemoryStats
from betterdb_agent_memory.options.environment import KEYS
from tests.apps.conftest import ROOT, environment
from tests.docs.pages import Block, blocks, table

PAGE = ROOT / "docs" / "cli.md"

_CHANGING = (
    (r"  +", "  "),  # how wide a column is depends on the ages in it
    ("─+", "─"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\b1[6-9]\d{11} \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", "TIME"),
    (r"(?:now|\b\d+ (?:s|min))(?=  )", "AGE"),
)


def settled(output: str) -> str:
    """An output without what differs from run to run: ids, times and ages; and without blanks at line ends."""
    for pattern, name in _CHANGING:
        output = re.sub(pattern, name, output)
    return "\n".join(line.rstrip() for line in output.splitlines())


def session() -> list[Block]:
    """The commands of the page that have an output beside them."""
    return [block for block in blocks(PAGE, "sh") if block.output is not None]


def run_session(folder: Path) -> list[str]:
    """What each block prints, all in one shell, stderr among it."""
    command = folder / "bin" / "betterdb-memory"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m betterdb_agent_memory "$@"\n')
    command.chmod(0o755)
    settings = environment(folder, COLUMNS="110")
    settings["PATH"] = f"{command.parent}:{settings['PATH']}"
    marked = "".join(f"{block.text}\nprintf '\\036'\n" for block in session())
    finished = subprocess.run(
        ["sh"], cwd=folder, env=settings, input=marked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", timeout=270, check=False,
    )  # fmt: skip
    return finished.stdout.split("\036")[:-1]


@pytest.mark.timeout(300)
def test_the_session_prints_what_it_shows(tmp_path: Path) -> None:
    shown = session()
    assert len(shown) >= 8
    for block, output in zip(shown, run_session(tmp_path), strict=True):
        assert settled(output) == settled(block.output or ""), f"docs/cli.md, line {block.line}"


def commands(group: typer.Typer, before: str = "") -> list[list[str]]:
    """Every command and the first line of what it says of itself."""
    found = []
    for command in group.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__ is not None
        found.append([f"{before}{command.name}", command.callback.__doc__.strip().splitlines()[0].rstrip(".")])
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        found += commands(inner.typer_instance, f"{before}{inner.name} ")
    return found


def test_every_command_is_in_the_table() -> None:
    assert table(PAGE, "commands") == commands(app)


def test_every_setting_is_in_the_table() -> None:
    expected = [
        [key.name, key.variable, key.flag, f'"{key.default}"' if key.default else "", key.meaning] for key in KEYS
    ]
    assert table(PAGE, "settings") == expected


def test_every_exit_code_is_in_the_table() -> None:
    assert table(PAGE, "exits") == [[str(int(end)), end.meaning] for end in Exit]


def test_every_command_that_prints_json_is_in_the_table() -> None:
    named = " ".join(row[0] for row in table(PAGE, "json"))
    for name, _ in commands(app):
        assert name.split()[0] in named or name == "demo", name
    assert "item_count" in {field.name for field in fields(MemoryStats)}


if __name__ == "__main__":  # prints what the page should show
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        for block, output in zip(session(), run_session(Path(name)), strict=True):
            print(f"--- line {block.line}\n{output}")
    for row in commands(app):
        print(f"| `{row[0]}` | {row[1]} |")
