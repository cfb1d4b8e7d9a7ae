"""Eight processes that write into one full scope: final counts, who had to leave, and what a write costs.

    python -m benchmarks.capacity
    python -m benchmarks.capacity --caps 20 1000 --writes 50
    python -m benchmarks.capacity --published .peers/betterdb-0.7.0

A Valkey with RediSearch is started for each run. The scope is full when the processes begin. `ours` has the limit,
`uncapped` has none, `floor` has none either, but a bare DEL of one memory behind each write: what any way of keeping a
scope at its size costs. What one writer pays, on a file as well: `benchmarks.capacity_steady`. Columns:

left          memories in the scope when all processes have ended
wrong         memories that left though others, worth less, stayed, and the other way round: against an oracle that
              takes all that was there and all that was written, but for the last one, and lets the lowest leave
evictions     what the store counted, and what it should have: written + there before - left
count         what the store keeps as the size of the scope (ours only)
ms            mean and 99th percentile of one remember(), in each process
server ms     CPU time of the server, for each write
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np
import valkey

from benchmarks.capacity_worker import DIMENSIONS, WORKERS
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent
NAME = "capacity"
RECENCY, IMPORTANCE, HALF_LIFE_SECONDS = 0.25, 0.15, 604_800
GROUP = "1:t--"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of all processes came to."""

    label: str
    cap: int
    writes: int
    left: int
    wrong: int | None
    evictions: int
    expected_evictions: int
    kept_count: int | None
    mean_ms: float
    p99_ms: float
    server_ms: float
    seconds: float


def fill(client: Any, count: int) -> dict[str, tuple[float, float]]:
    """Put `count` memories of the last 30 days into the scope; importance and time of last access of each."""
    chance = np.random.default_rng(7)
    now_ms = int(time() * 1000)
    there = {}
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        id, importance = f"old{number}", round(float(chance.random()), 6)
        accessed = now_ms - int(chance.integers(0, 30 * 24 * 3600 * 1000))
        there[id] = (importance, float(accessed))
        pipeline.hset(
            f"{NAME}:mem:{id}",
            mapping={
                "content": f"old {number}",
                "vector": chance.normal(size=DIMENSIONS).astype(np.float32).tobytes(),
                "importance": importance,
                "created_at": accessed,
                "last_accessed_at": accessed,
                "access_count": 0,
                "threadId": "t",
            },
        )
        if number % 500 == 499:
            pipeline.execute()
    pipeline.execute()
    return there


def worth(importance: float, accessed_ms: float, now_ms: float) -> float:
    """The retention score with the published weights."""
    recency = 2 ** (-(now_ms - accessed_ms) / 1000 / HALF_LIFE_SECONDS)
    return float((RECENCY * recency + IMPORTANCE * importance) / (RECENCY + IMPORTANCE))


def run(label: str, package: Path, cap: int, full: int, writes: int) -> Run:
    """Start the processes on a new server with `full` memories, let them write, and look at what is left."""
    with ValkeyServer() as server:
        client = server.blocking_client()
        environment = {**os.environ, "PYTHONPATH": str(package), "BETTERDB_TELEMETRY": "false"}
        command = [sys.executable, str(ROOT / "benchmarks" / "capacity_worker.py"), f"valkey://127.0.0.1:{server.port}"]
        # Whoever comes first makes the index.
        _ended([_started([*command, NAME, "0", "99", "0"], environment)])
        there = fill(client, full)
        processes = [
            _started([*command, NAME, str(cap), str(worker), str(writes)], environment) for worker in range(WORKERS)
        ]
        cpu, began = _cpu(client), perf_counter()
        reports = _ended(processes)
        seconds = perf_counter() - began
        used = _cpu(client) - cpu
        left = {key.decode().rpartition(":")[2] for key in client.scan_iter(f"{NAME}:mem:*", count=5000)}
        accessed = {id: float(client.hget(f"{NAME}:mem:{id}", "last_accessed_at")) for id in left}
        stats = client.hget(f"{NAME}:__mem_stats", "evictions")
        kept = client.hget(f"{NAME}:__mem_counts", GROUP)
        last = client.hget(f"{NAME}:__mem_counts", "@" + GROUP)
    now_ms = time() * 1000
    written = {id: importance for report in reports for id, importance in report["written"].items()}
    everything = dict(there) | {id: (importance, accessed.get(id, now_ms)) for id, importance in written.items()}
    took = [seconds for report in reports for seconds in report["took"]]
    excess = len(everything) - (cap if cap > 0 else len(everything))
    protected = {last.decode()} if last else set()
    ordered = sorted(
        (id for id in everything if id not in protected),
        key=lambda id: worth(everything[id][0], everything[id][1], now_ms),
    )
    should_stay = set(everything) - set(ordered[:excess])
    return Run(
        label,
        cap,
        len(written),
        len(left),
        len(left ^ should_stay) // 2 if cap >= 0 else None,
        int(stats or 0),
        len(everything) - len(left),
        None if kept is None else int(kept),
        1000 * float(np.mean(took)),
        1000 * float(np.percentile(took, 99)),
        1000 * used / len(written),
        seconds,
    )


def _started(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if json.loads(process.stdout.readline()) != "ready":
        raise RuntimeError("a worker did not come up")
    return process


def _ended(processes: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    reports = []
    for process in processes:
        output, _ = process.communicate(timeout=600)
        reports.append(json.loads(output))
    return reports


def _cpu(client: valkey.Valkey) -> float:
    info: Any = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def show(runs: Sequence[Run]) -> None:
    """The table."""
    print(
        f"{'':<12}{'cap':>7}{'writes':>8}{'left':>7}{'wrong':>7}{'evictions':>16}{'count':>8}{'ms':>9}{'p99':>9}"
        f"{'server ms':>11}{'seconds':>9}"
    )
    for one in runs:
        counted = f"{one.evictions}/{one.expected_evictions}"
        kept, wrong = ("-" if number is None else str(number) for number in (one.kept_count, one.wrong))
        cap = one.cap if one.cap > 0 else "-"
        print(
            f"{one.label:<12}{cap:>7}{one.writes:>8}{one.left:>7}{wrong:>7}{counted:>16}{kept:>8}"
            f"{one.mean_ms:>9.2f}{one.p99_ms:>9.1f}{one.server_ms:>11.2f}{one.seconds:>9.1f}"
        )


def main() -> None:
    """Run it all and print the table; ends with status 1 where our own figures are not what they have to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--caps", type=int, nargs="+", default=[20, 1_000, 10_000])
    parser.add_argument("--writes", type=int, default=0, help="by each process; by default as many as the cap needs")
    parser.add_argument("--published", type=Path, help="the folder of the published package, to run it as well")
    arguments = parser.parse_args()
    runs = []
    for cap in arguments.caps:
        writes = arguments.writes or (100 if cap < 1_000 else 500)
        runs.append(run("ours", ROOT, cap, cap, writes))
        runs.append(run("uncapped", ROOT, 0, cap, writes))
        runs.append(run("floor", ROOT, -cap, cap, writes))
        if arguments.published is not None:
            runs.append(
                run("published", arguments.published.resolve(), cap, cap, writes if cap < 1_000 else writes // 25)
            )
    show(runs)
    ours = [one for one in runs if one.label == "ours"]
    sys.exit(
        any(
            one.left != one.cap or one.wrong or one.evictions != one.expected_evictions or one.kept_count != one.cap
            for one in ours
        )
    )


if __name__ == "__main__":
    main()
