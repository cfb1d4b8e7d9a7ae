"""What docs/coming-from-engram.md says, and what the package it is about says of itself."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, table

PAGE = ROOT / "docs" / "coming-from-engram.md"
ENGRAM = ROOT / ".peers" / "engram-0.1.1"


@functools.cache
def surface() -> Any:
    """What engram offers, as it says itself."""
    if not ENGRAM.is_dir():
        pytest.fail(f"engram is not installed in {ENGRAM}: run `make peers`")
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("engram_surface.py"))],
        env={**os.environ, "PYTHONPATH": str(ENGRAM)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def rows(mark: str) -> dict[str, list[str]]:
    """The other cells of each row of a table, by the first."""
    found = table(PAGE, f"engram {mark}")
    assert len({row[0] for row in found}) == len(found), f"a row of {mark} stands there twice"
    return {row[0]: row[1:] for row in found}
