"""The command as the shell sees it: exit codes, streams, signals, pipes, start-up."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.apps.conftest import Run, environment
from tests.servers import ValkeyServer, free_port

PROGRAM = [sys.executable, "-W", "error", "-m", "betterdb_agent_memory"]


def test_a_session_in_processes(run_process: Run, place: list[str]) -> None:
    told = run_process(*place, "remember", "--lines", "--thread", "a", given="tea at five\nthe door code is 4711\n")
    assert (told.code, told.out) == (0, "2 stored, 0 merged, 0 rejected\n"), told.err
    found = run_process("recall", "door code", *place, "--json", "-k", "1")
    assert found.json["hits"][0]["memory"]["content"] == "the door code is 4711"
    assert found.err == ""


def test_help_and_version_open_nothing(run_process: Run, tmp_path: Path) -> None:
    nowhere = {"BETTERDB_URL": f"valkey://127.0.0.1:{free_port()}", "BETTERDB_CONFIG": "not-there.toml"}
    for arguments in (["--help"], ["--version"], ["recall", "--help"], ["migrate", "--help"], ["--show-completion"]):
        told = run_process(
            *arguments, env={**nowhere, "SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
        )
        assert told.code in (0, 2), told.err
        assert "Traceback" not in told.err
    assert not list(tmp_path.glob("**/*.db"))


HEAVY = ("apsw", "numpy", "opentelemetry", "prometheus_client", "pydantic_ai", "redis", "valkey")
"""What a store needs, and its help must not wait for. (typer itself brings pydantic.)"""


@pytest.mark.parametrize("arguments", [["--help"], ["recall", "--help"], ["remember", "--help"], ["--version"]])
def test_help_waits_for_nothing_that_only_a_store_needs(arguments: list[str]) -> None:
    source = (
        "import sys; from betterdb_agent_memory.apps.cli import main\n"
        "try: main()\n"
        "finally: sys.stderr.write(' '.join(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", source, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert told.returncode == 0, told.stderr
    imported = {name.partition(".")[0] for name in told.stderr.split()}
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY)


def test_completion_offers_the_commands(run_process: Run) -> None:
    told = run_process(
        env={"_BETTERDB_MEMORY_COMPLETE": "complete_bash", "COMP_WORDS": "betterdb-memory re", "COMP_CWORD": "1"}
    )
    assert set(told.out.split()) == {"remember", "recall", "reindex"}


def test_errors_are_one_line(run_process: Run) -> None:
    away = run_process("--url", f"valkey://user:s3cr3t-word@127.0.0.1:{free_port()}", "list")
    assert away.code == 4
    assert away.err.count("\n") == 1
    assert away.err.startswith("betterdb-memory: ")
    assert "s3cr3t-word" not in away.err + away.out
    unknown = run_process("--url", "ftp://x", "list")
    assert unknown.code == 3
    assert run_process("rekall", "x").code == 2
    assert run_process("recall").code == 2
    refused = run_process("--url", "m.db", "remember", "x", "--importance", "7")
    assert (refused.code, refused.err.count("\n")) == (3, 1)
    assert "Traceback" in run_process("--debug", "--url", "ftp://x", "list").err


def test_a_wrong_password_and_a_server_without_search_are_told(run_process: Run) -> None:
    with ValkeyServer(password="right") as server:
        told = run_process("--url", f"valkey://:wrong@127.0.0.1:{server.port}", "list")
        assert told.code == 4
        assert told.err.count("\n") == 1
    with ValkeyServer(search=False) as server:
        told = run_process("--url", server.url, "remember", "x")
        assert told.code == 4
        assert "search module" in told.err


def test_a_reader_that_stops_is_no_error(run_process: Run, tmp_path: Path) -> None:
    run_process("--url", "m.db", "remember", "--lines", given="".join(f"line {n} {'x' * 200}\n" for n in range(2000)))
    program = subprocess.Popen(
        [*PROGRAM, "--url", "m.db", "export", "-"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.readline()
    program.stdout.close()
    with program:
        assert program.wait(30) == 141
        assert program.stderr.read() == b""


def test_a_full_disk_and_a_file_of_another_encoding_are_told_in_a_line(run_process: Run, tmp_path: Path) -> None:
    run_process("--url", "m.db", "remember", "--lines", given="".join(f"line {n}\n" for n in range(500)))
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [*PROGRAM, "--url", "m.db", "export", "-"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    assert (finished.returncode, finished.stderr) == (4, "betterdb-memory: No space left on device\n")
    (tmp_path / "latin.txt").write_bytes(b"good\ncaf\xe9\n")
    told = run_process("--url", "m.db", "remember", "--lines", "latin.txt")
    assert told.code == 3
    assert told.err.startswith("betterdb-memory: the input is no UTF-8")


def test_ctrl_c_ends_it_and_what_is_stored_stays(tmp_path: Path, run_process: Run) -> None:
    with subprocess.Popen(
        [*PROGRAM, "--url", "m.db", "--json", "remember", "--lines"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdin.write("".join(f"line {n}\n" for n in range(500)))
        program.stdin.flush()
        program.stdout.readline()  # the first batch is stored, and it waits for the next one
        time.sleep(0.2)
        program.send_signal(signal.SIGINT)
        err = program.stderr.read()
        assert program.wait(30) == 130, err
    assert err == "interrupted\n"
    assert run_process("--url", "m.db", "list", "--json").json["total"] == 500


def test_at_a_terminal_it_asks(run_process: Run, tmp_path: Path) -> None:
    run_process("--url", "m.db", "remember", "--lines", "--thread", "a", given="1\n2\n")

    def answered(answer: bytes) -> int:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*PROGRAM, "--url", "m.db", "forget", "--thread", "a"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as program:
            os.write(ours, answer)
            code = program.wait(30)
        os.close(ours)
        os.close(theirs)
        return code

    assert answered(b"n\n") == 2
    assert run_process("--url", "m.db", "list", "--json").json["total"] == 2
    assert answered(b"y\n") == 0
    assert run_process("--url", "m.db", "list").code == 1


def test_the_demo_runs_from_anywhere_and_leaves_nothing(run_process: Run, tmp_path: Path) -> None:
    told = run_process("demo")
    assert told.code == 0, told.err
    assert "183 memories" in told.out
    assert not list(tmp_path.glob("*.db"))
    assert run_process("demo", "--ask", "Which plumber came?").code == 2


@pytest.mark.parametrize("missing", ["typer", "rich", "platformdirs"])
def test_without_its_extra_it_says_what_to_install(missing: str) -> None:
    source = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)\n"
        "from betterdb_agent_memory.apps.cli import main; main()"
    )
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, encoding="utf-8", check=False)
    assert told.returncode == 1
    assert told.stderr == f'betterdb-memory needs {missing}: pip install "betterdb-agent-memory[cli]"\n'
