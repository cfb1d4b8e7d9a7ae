"""`betterdb-memory calibrate`: what was measured, as a table and as JSON, and set when that is wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.apps.conftest import Run

WORDS = ("tea", "coffee", "salmon", "walnut", "garden", "piano", "train", "harbour", "window", "letter", "bridge")
TEXTS = [f"Maya wrote about {one} and {other}." for one in WORDS for other in WORDS[:3] if one != other]


@pytest.fixture
def stored(run: Run, place: list[str]) -> list[str]:
    assert run(*place, "remember", "-", "--lines", given="\n".join(TEXTS)).code == 0
    return place


def test_the_table_says_what_is_recommended_and_what_is_in_force(run: Run, stored: list[str]) -> None:
    told = run(*stored, "calibrate")
    assert told.code == 0
    assert "recommended" in told.out
    assert "in force" in told.out
    assert "answers kept" not in told.out
    assert "questions made up from the memories" in " ".join(told.out.split())
    assert run(*stored, "config", "show", "--live", "--json").json["settings"]["threshold"]["source"] == "constructor"


def test_answers_from_a_file_or_a_pipe_are_counted(run: Run, stored: list[str], tmp_path: Path) -> None:
    asked = [{"question": f"What did Maya say of {word}?", "answers": [TEXTS[2 * n]]} for n, word in enumerate(WORDS)]
    lines = "\n".join(map(json.dumps, asked)) + "\n\n"
    (tmp_path / "questions.jsonl").write_text(lines, encoding="utf-8")
    told = run(*stored, "calibrate", "--questions", "questions.jsonl")
    assert told.code == 0
    assert "answers kept" in told.out
    measured = run(*stored, "calibrate", "--questions", "-", "--json", given=lines).json
    assert (measured["basis"], measured["questions"], measured["true_pairs"]) == ("answers", len(WORDS), len(WORDS))
    assert {"ceiling", "false_accepts", "true_accepts"} == set(measured["rates"][0])
    wider = run(*stored, "calibrate", "--questions", "-", "--false-accept-rate", "0.5", "--json", given=lines).json
    assert wider["threshold"] > measured["threshold"]


def test_it_is_set_when_that_is_said(run: Run, stored: list[str]) -> None:
    refused = run(*stored, "calibrate", "--set")
    assert refused.code == 2
    assert "this is a guess: 30 memories" in refused.err
    assert "--set takes a guess only with --yes" in refused.err
    assert run(*stored, "config", "show", "--live", "--json").json["settings"]["threshold"]["source"] == "constructor"
    told = run(*stored, "calibrate", "--set", "--yes", "--json")
    assert told.code == 0
    threshold = run(*stored, "config", "show", "--live", "--json").json["settings"]["threshold"]
    assert (threshold["value"], threshold["source"]) == (told.json["threshold"], "live")
    assert "config reset threshold" in told.err
    assert run(*stored, "calibrate", "--json").json["current"] == told.json["threshold"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("", "has no questions"),
        ("{", "standard input, line 1 is no JSON"),
        ('{"question": "Who?", "expcted": []}', "line 1: expcted"),
        ('{"question": "Who?"}\n{"question": 5}', "line 2: question"),
        ('{"question": "Who?", "expected": ["gone"]}', "'gone'"),
    ],
    ids=["empty", "json", "field", "kind", "gone"],
)
def test_a_file_that_cannot_be_used_is_told_by_its_line(run: Run, tmp_path: Path, given: str, complaint: str) -> None:
    place = ["--url", str(tmp_path / "m.db")]
    run(*place, "remember", "-", "--lines", given="\n".join(TEXTS))
    told = run(*place, "calibrate", "--questions", "-", given=given)
    assert told.code == 3
    assert complaint in told.err


def test_with_answers_it_is_no_guess(run: Run, stored: list[str]) -> None:
    asked = json.dumps({"question": "What did Maya say of tea?", "answers": [TEXTS[0]]})
    told = run(*stored, "calibrate", "--questions", "-", "--set", given=asked)
    assert told.code == 2
    assert "guess" not in told.err
    assert "set the threshold of all workers" in told.err


def test_the_bytes_of_a_file_are_read_as_utf8_with_or_without_a_mark(
    run: Run, stored: list[str], tmp_path: Path
) -> None:
    line = json.dumps({"question": "Tea?"}).encode()
    for name, content, complaint in (
        ("bom.jsonl", b"\xef\xbb\xbf" + line, None),
        ("bin.jsonl", line + b"\n\xff", "bin.jsonl, line 2 is no UTF-8"),
        ("deep.jsonl", line + b"\n" + b"[" * 200_000, "deep.jsonl, line 2 is nested too deeply"),
    ):
        (tmp_path / name).write_bytes(content)
        told = run(*stored, "calibrate", "--questions", name)
        assert told.code == (0 if complaint is None else 3), told.err
        assert (complaint or "") in told.err


def test_a_file_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    place = ["--url", str(tmp_path / "m.db")]
    run(*place, "remember", "tea")
    assert "cannot read none.jsonl" in run(*place, "calibrate", "--questions", "none.jsonl").err
    assert "20 memories or more" in run(*place, "calibrate").err
