"""docs/coming-from-engram.md: each command of that package has a counterpart.

Which there are is what its own parser says (tests/peer/engram_surface.py). That commands do the same on a server as on
a file is in test_commands.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from betterdb_agent_memory.apps.cli.app import app
from tests.apps.conftest import Run
from tests.peer.of_engram import rows, surface

Check = Callable[[Run, list[str]], None]
COMMANDS: dict[str, Check] = {}
"""The test of each row."""


def command(row: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        assert row not in COMMANDS
        COMMANDS[row] = check
        return check

    return register


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    """Options that name a store that is empty."""
    return ["--url", str(tmp_path / "m.db")]


def remembered(run: Run, place: list[str], text: str, *more: str) -> str:
    told = run(*place, "remember", text, *more)
    assert told.code == 0, told.err
    return told.out.strip()


@command("neuromem --db")
def _(run: Run, place: list[str]) -> None:
    id = remembered(run, place, "Tea is at five.")
    assert run("list", *place, "--json").json["items"][0]["id"] == id
    assert run("--url", "another.db", "list").code != 0


@command("neuromem add content --type --importance")
def _(run: Run, place: list[str]) -> None:
    id = remembered(run, place, "Maya likes tea.", "--kind", "emotional", "--importance", "0.25")
    [memory] = run(*place, "show", id, "--json").json["memories"]
    assert (memory["content"], memory["kind"], memory["importance"]) == ("Maya likes tea.", "emotional", 0.25)


@command("neuromem recall query --limit")
def _(run: Run, place: list[str]) -> None:
    for text in ("Maya likes tea.", "Maya likes green tea.", "It rains."):
        remembered(run, place, text)
    hits = run(*place, "recall", "What tea does Maya like?", "-k", "1", "--json").json["hits"]
    assert len(hits) == 1
    assert "tea" in hits[0]["memory"]["content"]


@command("neuromem stats")
def _(run: Run, place: list[str]) -> None:
    remembered(run, place, "Maya likes tea.", "--kind", "opinion")
    stats = run(*place, "dynamics", "stats", "--json").json
    assert stats["by_kind"]["opinion"]["memories"] == stats["all"]["layers"]["working"] == 1


@command("neuromem consolidate --days")
def _(run: Run, place: list[str]) -> None:
    remembered(run, place, "Nothing of note.", "--importance", "0")
    assert run(*place, "dynamics", "consolidate", "--days", "60", "--json").json["archived"] == 1
    assert run(*place, "dynamics", "consolidate", "--days", "700", "--yes", "--json").json["forgotten"] == 1


@command("neuromem forget --threshold")
def _(run: Run, place: list[str]) -> None:
    id = remembered(run, place, "Nothing of note.")
    assert run(*place, "dynamics", "forget", "--below", "0.5", "--yes", "--json").json["forgotten"] == 0
    assert run(*place, "dynamics", "forget", "--below", "1.5").code != 0, "it asks first"
    assert run(*place, "dynamics", "forget", "--below", "1.5", "--yes", "--json").json["forgotten"] == 1
    assert run(*place, "show", id).code != 0


@command("neuromem export output")
def _(run: Run, place: list[str]) -> None:
    id = remembered(run, place, "Maya likes tea.")
    assert run(*place, "export", "all.jsonl").code == 0
    assert run("--url", "restored.db", "import", "all.jsonl", "--json").json["imported"] == 1
    assert run("--url", "restored.db", "show", id).code == 0


@command("neuromem list --limit --type")
def _(run: Run, place: list[str]) -> None:
    for number in range(3):
        remembered(run, place, f"Rule {number}", "--kind", "rule")
    remembered(run, place, "Opinion", "--kind", "opinion")
    listed = run(*place, "list", "--limit", "2", "--kind", "rule", "--json").json["items"]
    assert [memory["content"] for memory in listed] == ["Rule 2", "Rule 1"]


@command("neuromem hebbian query")
def _(run: Run, place: list[str]) -> None:
    for id in ("tea", "cup"):
        remembered(run, place, id, "--id", id)
    assert run(*place, "dynamics", "link", "tea", "cup").code == 0
    [link] = run(*place, "dynamics", "links", "tea", "--json").json["links"]
    assert (link["id"], link["content"]) == ("cup", "cup")


@pytest.mark.parametrize("row", rows("commands"))
def test_a_command_has_a_counterpart(row: str, run: Run, place: list[str]) -> None:
    COMMANDS[row](run, place)


def test_every_command_with_every_option_is_in_the_table_and_tested() -> None:
    named = {}
    for row in rows("commands"):
        program, *words = row.split()
        assert program == "neuromem"
        name = "" if words[0].startswith("-") else words.pop(0)
        named[name] = words
    assert named == surface()["commands"]
    assert list(COMMANDS) == list(rows("commands"))


@pytest.mark.parametrize("row", rows("commands"))
def test_what_the_table_says_to_type_is_a_command_with_these_options(row: str) -> None:
    found = typer.main.get_command(app)
    program, *words = rows("commands")[row][0].split()
    assert program == "betterdb-memory"
    for word in words:
        if word.startswith("-"):
            assert word in {option for parameter in found.params for option in parameter.opts}, word
        else:
            assert isinstance(found, TyperGroup)
            found = found.commands[word]
    said = re.findall(r"`betterdb-memory ([^`]*)`", rows("commands")[row][1])
    assert all(words.split()[0] in typer.main.get_command(app).commands for words in said)  # type: ignore[attr-defined]
