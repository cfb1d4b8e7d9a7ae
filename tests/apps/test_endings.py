"""How commands end: a taken id, a file that is not there, and every error of the library."""

from __future__ import annotations

from pathlib import Path

import pytest

from betterdb_agent_memory import AgentMemoryError, MemoryStore, errors
from betterdb_agent_memory.apps.cli.exits import Exit, exit_of
from tests.apps.conftest import Run


def test_a_taken_id_is_refused_in_words_of_the_shell(run: Run, place: list[str]) -> None:
    run(*place, "remember", "one", "--id", "k1")
    told = run(*place, "remember", "two", "--id", "k1", "--json")
    assert told.code == 3
    assert (told.json["outcome"], told.json["id"]) == ("rejected", "k1")
    for text in (told.json["error"], told.err):
        assert "--replace" in text
        assert "on_duplicate" not in text
        assert "update()" not in text
    line = run(*place, "remember", "--jsonl", given='{"content": "three", "id": "k1"}\n')
    assert line.code == 3
    assert "--replace" in line.err


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("show", "x"),
        ("recall", "x"),
        ("stats",),
        ("export", "-"),
        ("migrate", "status", "--to", "wordllama:64"),
        ("forget", "x", "--dry-run"),
        ("consolidate", "--dry-run"),
    ],
)
def test_reading_makes_no_file(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    told = run("--url", "folder/x.db", *command)
    assert (told.code, told.out) == (3, "")
    assert "there is no file folder/x.db" in told.err
    assert not (tmp_path / "folder").exists()
    fresh = run(*command)
    assert (fresh.code, fresh.out) == (1, "")
    assert "nothing has been remembered yet" in fresh.err
    assert not list(tmp_path.glob("**/*.db"))


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (errors.MemoryNotFoundError("x"), Exit.NOTHING),
        (errors.MemoryExistsError("x"), Exit.REFUSED),
        (errors.VersionConflictError("x"), Exit.REFUSED),
        (errors.LeaseHeldError("x"), Exit.REFUSED),
        (errors.LeaseLostError("x"), Exit.FAILED),
        (errors.ConsolidationError("x"), Exit.FAILED),
        (errors.EmbedderOverloadedError("x"), Exit.FAILED),
    ],
)
def test_every_error_has_its_end(error: AgentMemoryError, end: Exit) -> None:
    assert exit_of(error) is end


def test_what_is_not_ours_is_a_bug_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: MemoryStore) -> None:
        raise ZeroDivisionError("of all things")

    run("--url", "m.db", "remember", "x")
    monkeypatch.setattr(MemoryStore, "stats", broken)
    told = run("--url", "m.db", "stats")
    assert (told.code, told.out, told.err.count("\n")) == (4, "", 1)
    assert "ZeroDivisionError: of all things (this is a bug: --debug shows where)" in told.err
    with pytest.raises(ZeroDivisionError):
        run("--debug", "--url", "m.db", "stats")
