"""Install the published packages that tests and benchmarks run beside ours.

They go to `.peers/`, each into a folder that is never on our own path: put it first on PYTHONPATH of a process of
its own. `betterdb-0.7.0` is imported by the same name as this package; set BETTERDB_TELEMETRY=false there, since it
reports home unless told not to. `engram-0.1.1` is under AGPL-3.0: it is asked what it offers, nothing more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / ".peers"

# The versions that the recorded fixtures were made with, and that docs/coming-from-engram.md is about.
PUBLISHED = {
    "betterdb-0.7.0": (
        "betterdb-agent-memory==0.7.0",
        "betterdb-agent-cache==0.12.0",
        "betterdb-valkey-search-kit==0.1.1",
        "valkey==6.2.0",
    ),
    "engram-0.1.1": ("neuromemory-ai==0.1.1",),
}


def install(name: str, requirements: tuple[str, ...]) -> Path:
    """Install `requirements` into a folder of their own, whole or not at all, unless it is there."""
    target = PEERS / name
    if target.is_dir():
        return target
    PEERS.mkdir(exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=PEERS))
    try:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--target", str(unfinished), *requirements], check=True)
        try:
            unfinished.rename(target)
        except OSError:
            # Another process was faster; its folder has the same content.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def main() -> None:
    for name, requirements in PUBLISHED.items():
        print(install(name, requirements))


if __name__ == "__main__":
    main()
