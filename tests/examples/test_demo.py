"""`make demo` does what its output claims, and README.md shows that output as it is."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from betterdb_agent_memory import AgentMemory
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo.py"
FORGOTTEN_TEXTS = [
    turn["text"]
    for session in json.loads(
        (ROOT / "betterdb_agent_memory" / "apps" / "demo" / "transcript.json").read_text(encoding="utf-8")
    )
    for turn in session["turns"]
    if session["thread"] == "skin"
]

pytestmark = pytest.mark.xdist_group("demo")


@dataclass(frozen=True, slots=True)
class Runs:
    """What three runs on one file printed, and where they ran."""

    folder: Path
    first: str
    second: str
    fresh: str


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "BETTERDB_URL"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, str(DEMO), *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )


def output_of(folder: Path, *arguments: str) -> str:
    finished = run_demo(folder, *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("demo")
    return Runs(folder, output_of(folder), output_of(folder), output_of(folder, "--fresh"))


def chapter(output: str, number: int) -> str:
    """The text under the title that begins with `number`."""
    start = re.search(rf"^{number}\. .*\n-+$", output, re.MULTILINE)
    assert start, f"no chapter {number} in:\n{output}"
    end = re.search(rf"^{number + 1}\. .*\n-+$", output, re.MULTILINE)
    return output[start.end() : end.start() if end else len(output)]


def threads_in(output: str) -> set[str]:
    """The conversations that the rows of tables in `output` come from."""
    return set(re.findall(r"^[* ] \d  .*  \d+ [A-Z][a-z]{2} +([a-z0-9-]+) ", output, re.MULTILINE))


def test_the_readme_shows_the_output_of_a_first_run(runs: Runs):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    between = re.findall(r"<!-- demo output: begin -->(.*?)<!-- demo output: end -->", readme, re.DOTALL)
    assert len(between) == 1, "README.md needs one block between the comments 'demo output: begin' and 'end'"
    lines = between[0].strip().splitlines()
    assert lines[0].startswith("```")
    assert lines[-1] == "```"
    assert "\n".join(lines[1:-1]).strip("\n") == runs.first.strip("\n")


def test_the_output_fits_a_page_and_names_no_machine(runs: Runs):
    lines = runs.first.splitlines()
    assert len(lines) <= 140
    assert max(map(len, lines)) <= 110
    assert "\033" not in runs.first
    assert str(runs.folder) not in runs.first
    assert str(ROOT) not in runs.first
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", runs.first)


def test_starting_over_prints_the_same_again(runs: Runs):
    assert runs.fresh == runs.first


def test_the_second_run_knows_and_adds_nothing(runs: Runs):
    assert "199 memories" in chapter(runs.first, 1)
    assert "Nothing is added" in chapter(runs.second, 1)
    for output in (runs.first, runs.second):
        assert "183 memories" in chapter(output, 6)


def test_a_forgotten_conversation_stays_forgotten(runs: Runs):
    assert "16 memories forgotten, 183 of 199 left" in chapter(runs.first, 5)
    assert "stays forgotten" in chapter(runs.second, 5)
    for output in (chapter(runs.first, 6), runs.second):
        assert not any(text[:25] in output for text in FORGOTTEN_TEXTS)
    for output in (runs.first, runs.second):
        assert re.search(r"\(0 of [1-5] hits are from it\)", chapter(output, 5))


def test_forgetting_leaves_the_other_conversations(runs: Runs):
    before, after = chapter(runs.first, 5).split("memories forgotten")
    assert {"skin", "autumn"} <= threads_in(before)
    assert "autumn" in threads_in(after)
    assert "skin" not in threads_in(after)


def test_most_questions_have_their_answer_in_the_first_hits(runs: Runs):
    counts = re.search(r"Of (\d+) questions, .*, (\d+) in the first 3, (\d+) in the first 5\.", runs.first)
    assert counts
    questions, in_first_3, in_first_5 = map(int, counts.groups())
    assert in_first_3 >= 0.7 * questions
    assert in_first_5 >= 0.75 * questions


def test_the_parts_of_every_score_add_up(runs: Runs):
    number = r"(\d\.\d{3})"
    rows = re.findall(rf"^[* ] \d  {'  '.join([number] * 5)}  ", runs.first, re.MULTILINE)
    assert len(rows) >= 20
    for score, *parts in rows:
        assert float(score) == pytest.approx(sum(map(float, parts)), abs=0.0021)


def test_users_do_not_see_each_other(runs: Runs):
    told = re.findall(r"^  (Tomas|Maya) +(\d) of \d hits", chapter(runs.first, 3), re.MULTILINE)
    assert dict(told)["Maya"] == "0"
    assert int(dict(told)["Tomas"]) > 0


def test_a_memory_that_is_used_rises(runs: Runs):
    text = chapter(runs.first, 4)
    assert "recalled 0 times before, 3 times now" in text
    assert "last used 14 Sep before, 25 Oct now" in text
    before, after = re.findall(r"^  (\d)  (\d\.\d{3}).*Another recipe", text, re.MULTILINE)
    assert int(after[0]) < int(before[0])
    assert float(after[1]) > float(before[1])


def test_anything_can_be_asked(runs: Runs):
    output = output_of(runs.folder, "--ask", "What should I pack against seasickness on small boats?")
    assert "ginger tablets" in output or "seasick" in output


def test_a_run_that_was_interrupted_is_made_good(runs: Runs, tmp_path: Path):
    async def half_a_run() -> None:
        async with AgentMemory.open(tmp_path / "demo.db", name="agent_memory_demo") as agent:
            for number in range(20):
                await agent.memory.remember(f"Maya: a turn from before, number {number}", namespace="maya")

    asyncio.run(half_a_run())
    assert output_of(tmp_path) == runs.first


def test_a_server_tells_the_same_story(runs: Runs, tmp_path: Path):
    with ValkeyServer() as server:
        url = f"valkey://127.0.0.1:{server.port}"
        output = output_of(tmp_path, "--url", url)
    opening, rest = output.split("\n", 1)
    assert opening == f"Memories live in {url}."
    assert rest == runs.first.split("\n", 1)[1]


def test_a_password_is_never_printed(tmp_path: Path):
    finished = run_demo(tmp_path, "--url", "valkey://maya:s3cr3t-word@127.0.0.1:1/")
    assert finished.returncode != 0
    assert "s3cr3t-word" not in finished.stdout + finished.stderr
