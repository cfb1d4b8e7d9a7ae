"""An environment of its own for each peer, made once below `.peers/`, from PyPI alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from scripts.install_peers import PEERS, PUBLISHED, install

ROOT = Path(__file__).resolve().parents[2]
_COMPLETE = ".complete"

REQUIREMENTS = {
    "bm25": ("bm25s==0.3.16", "PyStemmer==3.1.0", "numpy"),
    "mem0": ("mem0ai==2.2.1", "langchain>=0.3.30,<1", "redisvl==0.26.0", "redis>=5,<6", "numpy"),
    "neuromemory": ("neuromemory-ai==0.1.1", "time-machine==3.6.0"),
    "redisvl": ("redisvl==0.28.0", "numpy"),
}
"""What pip is asked for; mem0 takes vectors of ours through LangChain, and its Redis store through RedisVL."""

# Nobody reports home, and nobody looks for a home of the user's.
_QUIET = {"BETTERDB_TELEMETRY": "false", "MEM0_TELEMETRY": "False", "ANONYMIZED_TELEMETRY": "False"}


def environments_folder() -> Path:
    """`.peers/`, or the folder that PEER_ENVIRONMENTS names."""
    return Path(os.environ.get("PEER_ENVIRONMENTS") or PEERS)


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there whole."""
    folder = environments_folder() / f"venv-{peer}"
    python = folder / "bin" / "python"
    wanted = "\n".join(REQUIREMENTS[peer])
    complete = folder / _COMPLETE
    if complete.exists() and complete.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *REQUIREMENTS[peer]], check=True)
    complete.write_text(wanted)
    return python


def run_peer(peer: str, folder: Path, *arguments: str) -> None:
    """Have `benchmarks/peers/with_{peer}.py` answer what lies in `folder`, in the environment of the peer.

    What it says on the way is told only if it fails.

    The published package has the import name of this one: its folder comes first there, and it runs with our
    own interpreter.
    """
    path = [str(ROOT)]
    if peer in REQUIREMENTS:
        python = python_of(peer)
    else:
        python = Path(sys.executable)
        path = [str(install(name, PUBLISHED[name])) for name in PUBLISHED] + path
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MEM0_", "OPENAI_"))}
    environment = {**kept, **_QUIET, "PYTHONPATH": os.pathsep.join(path), "MEM0_DIR": str(folder), "HOME": str(folder)}
    command = [str(python), "-m", f"benchmarks.peers.with_{peer}", str(folder), *arguments]
    finished = subprocess.run(command, env=environment, cwd=folder, check=False, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{peer} failed:\n{finished.stderr[-3000:]}")
