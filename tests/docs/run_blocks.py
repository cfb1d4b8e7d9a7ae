"""Runs the blocks of a page one after another, as `python -m asyncio` would, and tells what each printed.

Reads a JSON list of source texts from stdin, writes a JSON list of outputs. A process of its own per
page: examples see no state of the tests.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import sys
from contextlib import redirect_stdout


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


if __name__ == "__main__":
    json.dump(asyncio.run(run_in_turn(json.load(sys.stdin))), sys.stdout)
