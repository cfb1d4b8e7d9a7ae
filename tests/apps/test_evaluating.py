"""`betterdb-memory eval`: figures for people, for programs and on a page, and nothing left where it measured."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.apps.conftest import Run, environment
from tests.servers import ValkeyServer

LINES = """\
{"id": "walnut", "text": "Maya is allergic to walnuts."}
{"id": "key", "text": "The spare key is under the blue pot."}
{"question": "Where is the spare key?", "expected": ["key"], "category": "<places>"}
{"question": "What is Maya allergic to?", "expected": ["walnut"]}
"""


def dataset(tmp_path: Path) -> str:
    (tmp_path / "mine.jsonl").write_text(LINES)
    return "mine.jsonl"


def test_tables_json_and_a_page(run: Run, tmp_path: Path) -> None:
    file = dataset(tmp_path)
    before = set(tmp_path.iterdir())
    told = run("eval", file, "--strategies", "vector,hybrid")
    assert told.code == 0, told.err
    assert "mine.jsonl: 2 questions about 2 memories in a file" in told.out
    assert all(word in told.out for word in ("R@10", "MRR", "p99 ms", "vector", "hybrid", "<places> (1)", "100.0"))
    assert set(tmp_path.iterdir()) == before

    told = run("eval", file, "--html", "report.html", "--embedders", "wordllama,wordllama:64", "--json")
    assert told.code == 0, told.err
    found = told.json
    assert [(one["embedder"], one["strategy"]) for one in found["results"]] == [
        ("wordllama", "vector"),
        ("wordllama", "hybrid"),
        ("wordllama:64", "vector"),
        ("wordllama:64", "hybrid"),
    ]
    assert set(found["results"][0]) == {
        *("embedder", "strategy", "overall", "categories", "latency", "cost", "near_misses"),
    }
    assert found["results"][1]["overall"]["recall"]["1"] == 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "&lt;places&gt;" in page


def test_a_measurement_that_is_terminated_leaves_nothing_on_the_server(tmp_path: Path) -> None:
    turns = (f'{{"id": "t{number}", "text": "Maya said {number}.", "session": "1"}}\n' for number in range(300))
    questions = ('{"question": "What did Maya say?", "expected": ["t1"]}\n' for _ in range(5_000))
    (tmp_path / "long.jsonl").write_text("".join([*turns, *questions]))
    with ValkeyServer() as server, server.blocking_client() as client:
        with subprocess.Popen(
            [sys.executable, "-m", "betterdb_agent_memory", "--url", server.url, "eval", "long.jsonl"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        ) as program:
            until_seconds = time.monotonic() + 30
            while len(client.keys("eval_*")) < 300 and time.monotonic() < until_seconds:
                time.sleep(0.02)
            for _ in range(2):  # as `timeout` does
                program.send_signal(signal.SIGTERM)
            out, err = program.communicate(timeout=30)
        assert (program.returncode, out, err.splitlines()[-1]) == (143, "", "terminated"), err
        assert client.keys("*") == []
        assert client.execute_command("FT._LIST") == []


def test_a_server_is_measured_and_left_as_it_was(run: Run, tmp_path: Path, valkey_server: ValkeyServer) -> None:
    with valkey_server.blocking_client() as client:
        before = set(client.keys("*"))
        told = run("--url", valkey_server.url, "eval", dataset(tmp_path), "--questions", "1", "--json")
        assert told.code == 0, told.err
        assert (told.json["engine"], told.json["questions"]) == ("server", 1)
        assert told.json["results"][0]["cost"]["round_trips"] >= 1
        assert set(client.keys("*")) <= before


def test_only_a_url_that_is_given_is_measured(run: Run, tmp_path: Path) -> None:
    told = run("eval", dataset(tmp_path), "--json", env={"BETTERDB_URL": "valkey://127.0.0.1:1"})
    assert (told.code, told.json["engine"]) == (0, "file")


def test_without_a_dataset_it_is_a_set_of_ours(run: Run) -> None:
    told = run("eval", "--questions", "5", "--strategies", "hybrid", "--json")
    assert told.code == 0, told.err
    assert told.json["questions"] == 5
    assert told.json["results"][0]["overall"]["questions"] == 5


def test_what_cannot_be_is_refused_before_anything_is_measured(run: Run, tmp_path: Path) -> None:
    file = dataset(tmp_path)
    for arguments, complaint in (
        ((file, "--strategies", "dense"), "no strategy is named 'dense'"),
        ((file, "--embedders", "nobody"), "no embedder is named 'nobody'"),
        ((file, "--embedders", ","), "--embedders names none"),
        ((file, "--html", "no/such/folder.html"), "there is no folder"),
        ((file, "--html", str(tmp_path)), "is a folder; name a file in it"),
    ):
        told = run("eval", *arguments)
        assert (told.code, told.out) == (3, "")
        assert complaint in told.err
    (tmp_path / "bad.jsonl").write_text(LINES + json.dumps({"id": "x"}))
    told = run("eval", "bad.jsonl")
    assert told.code == 3
    assert "bad.jsonl, line 5" in told.err
    assert run("eval", "missing.json").code == 4


def test_a_page_that_cannot_be_written_after_all_does_not_cost_the_figures(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lost.html").symlink_to(tmp_path / "gone" / "page.html")
    told = run("eval", dataset(tmp_path), "--html", "lost.html", "--strategies", "vector", "--json")
    assert told.code == 4
    assert told.json["questions"] == 2
    assert "lost.html" in told.err


def test_what_is_no_text_or_nested_too_deeply_is_told_with_its_place(run: Run, tmp_path: Path) -> None:
    for name, content, complaint in (
        ("bin.jsonl", LINES.encode() + b"\xff\xfe\x00", "bin.jsonl, line 5 is no UTF-8"),
        ("utf16.jsonl", LINES.encode("utf-16"), "it looks like UTF-16: save it as UTF-8"),
        ("deep.jsonl", LINES.encode() + b"[" * 200_000, "deep.jsonl, line 5 is nested too deeply"),
        ("deep.json", b"[" * 200_000, "deep.json, line 1 is nested too deeply"),
    ):
        (tmp_path / name).write_bytes(content)
        told = run("eval", name)
        assert (told.code, told.out) == (3, "")
        assert complaint in told.err
        assert len(told.err.splitlines()) == 1


def test_a_byte_order_mark_is_no_part_of_the_first_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bom.jsonl").write_bytes(LINES.encode("utf-8-sig"))
    told = run("eval", "bom.jsonl", "--strategies", "vector", "--json")
    assert told.code == 0, told.err
    assert told.json["memories"] == 2
