"""Runs examples: each page and each program in a process of its own, which sees nothing of the tests nor of each other.

The processes are forked from this one, which has imported the package and done nothing else: that takes a second each.
Reads a JSON object a line from stdin, `folder` to run in and either `program`, a path, or `sources`, the texts of
blocks, which run one after another as `python -m asyncio` would; answers with a line that has its `status`, and what it
printed: `output`, with `sources` a JSON list with a text for each, and `errors`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import os
import runpy
import signal
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import betterdb_agent_memory

IMPORTED = (betterdb_agent_memory.AgentMemory, betterdb_agent_memory.MemoryStore)
"""Looked up here, since the package imports its rooms when they are first asked for."""

LONGEST_SECONDS = 90


async def run_in_turn(sources: list[str]) -> list[str]:
    namespace: dict[str, object] = {"__name__": "__main__"}
    outputs = []
    for number, source in enumerate(sources, 1):
        printed = io.StringIO()
        with redirect_stdout(printed):
            code = compile(source, f"block {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(code, namespace)
            if inspect.isawaitable(waiting):
                await waiting
        outputs.append(printed.getvalue())
    return outputs


def run(asked: dict[str, Any]) -> None:
    """What the forked process does."""
    signal.alarm(LONGEST_SECONDS)
    os.chdir(asked["folder"])
    os.environ["HOME"] = asked["folder"]
    if "program" in asked:
        sys.argv = [asked["program"]]
        sys.path[0] = str(Path(asked["program"]).parent)
        runpy.run_path(asked["program"], run_name="__main__")
    else:
        json.dump(asyncio.run(run_in_turn(asked["sources"])), sys.stdout)


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            child = os.fork()
            if not child:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(output.fileno(), 1)
                os.dup2(errors.fileno(), 2)
                run(asked)
                return
            _, status = os.waitpid(child, 0)
            texts = []
            for file in (output, errors):
                file.seek(0)
                texts.append(file.read().decode())
        answer = {"status": os.waitstatus_to_exitcode(status), "output": texts[0], "errors": texts[1]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
