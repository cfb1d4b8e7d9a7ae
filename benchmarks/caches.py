"""The short-term tiers beside the published package, on one server, in turns.

    python -m benchmarks.caches [--calls 1000] [--rounds 5] [--threads] [--json FILE]

Each call is awaited before the next begins, so that a figure is a latency: client, network and server.
What is written later (statistics) is counted in, shared by the calls of its round. With `--threads`
also: `get_all` of a thread of 20 fields beside 100 and beside 1,000,000 keys of other threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import valkey

from benchmarks.peer_worker import PackageProcess
from scripts.install_peers import PUBLISHED, install
from tests.servers import ValkeyServer

OURS, THEIRS = "ours", "published"
HERE = Path(__file__).resolve().parent.parent
FIELDS = 20

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. " * 20},
    *[
        {"role": role, "content": f"turn {number}: what about topic {number}? " * 5}
        for number in range(5)
        for role in ("user", "assistant")
    ],
]


def params(number: int) -> dict[str, Any]:
    """A chat of eleven messages, of which the last differs."""
    last = {"role": "user", "content": f"question {number}"}
    return {"model": "gpt-4o-mini", "messages": [*MESSAGES, last], "temperature": 0, "max_tokens": 500}


def workload(calls: int, thread: str) -> dict[str, tuple[str, list[list[Any]]]]:
    """What is called: label -> verb and arguments, in the order in which it must be done."""
    numbers = range(calls)
    tools: list[Any] = [{"city": f"city {number}", "days": 3, "units": ["c", "mm"]} for number in numbers]
    return {
        "llm check, miss": ("llm.check", [[params(number)] for number in numbers]),
        "llm store": ("llm.store", [[params(number), "an answer of some length " * 10] for number in numbers]),
        "llm check, hit": ("llm.check", [[params(number)] for number in numbers]),
        "tool check, miss": ("tool.check", [["weather", arguments] for arguments in tools]),
        "tool store": ("tool.store", [["weather", arguments, "sunny " * 20] for arguments in tools]),
        "tool check, hit": ("tool.check", [["weather", arguments] for arguments in tools]),
        "session set": ("session.set", [[thread, f"field {number % FIELDS}", "value " * 10] for number in numbers]),
        "session get": ("session.get", [[thread, f"field {number % FIELDS}"] for number in numbers]),
        "session get_all": ("session.get_all", [[thread] for _ in range(max(1, calls // 10))]),
    }


def measure(stack: ExitStack, url: str, calls: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Microseconds a call of every round, by what was called and by package."""
    packages = opened(stack, url)
    found: dict[str, dict[str, list[float]]] = {}
    for turn in range(rounds + 1):
        for label in workload(1, "t"):
            found.setdefault(label, {OURS: [], THEIRS: []})
        order = [OURS, THEIRS] if turn % 2 else [THEIRS, OURS]
        names = {package: f"bench-{package}-{uuid4().hex[:8]}" for package in order}
        for package in order:
            packages[package].ask("open_cache", name=names[package], ttl=3600)
        for label, (verb, arguments) in workload(calls, f"thread-{turn}").items():
            for package in order:
                answer = packages[package].ask("cache", verb=verb, calls=arguments)
                if label.endswith(("hit", "miss")) and answer["answers"] != [label.endswith("hit")]:
                    raise RuntimeError(f"{package}: {label} answered {answer['answers']}")
                if turn:  # the first round loads scripts and fills caches
                    total = sum(answer["seconds"]) + answer["after_seconds"]
                    found[label][package].append(total / len(arguments) * 1e6)
    return found


def opened(stack: ExitStack, url: str) -> dict[str, PackageProcess]:
    """Both packages, each in a process of its own."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    np.savez(folder / "workload.npz", texts=np.array(["x"]), vectors=np.zeros((1, 8), np.float32))
    paths = {OURS: HERE, THEIRS: install("betterdb-0.7.0", PUBLISHED["betterdb-0.7.0"])}
    return {
        package: stack.enter_context(
            PackageProcess(path, url, f"b{package}", folder / "workload.npz", c_parser=package == OURS)
        )
        for package, path in paths.items()
    }


def beside_many(stack: ExitStack, server: ValkeyServer) -> dict[str, dict[str, float]]:
    """Milliseconds of one get_all of 20 fields, by number of keys of other threads and by package."""
    packages = opened(stack, server.url)
    client = valkey.Valkey(port=server.port)
    found: dict[str, dict[str, float]] = {}
    there = 0
    for foreign in (100, 1_000_000):
        for start in range(there, foreign, 10_000):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + 10_000, foreign)):
                pipeline.set(f"elsewhere:session:{number}:f", "value")
            pipeline.execute()
        there = foreign
        row = found[f"{foreign:,}"] = {}
        for package, process in packages.items():
            name = f"many-{package}-{foreign}"
            process.ask("open_cache", name=name)
            process.ask("cache", verb="session.set", calls=[["t", f"f{field}", "v"] for field in range(FIELDS)])
            repeats = 30 if package == OURS or foreign < 1000 else 3
            answer = process.ask("cache", verb="session.get_all", calls=[["t"]] * repeats, keep=True)
            if any(len(fields) != FIELDS for fields in answer["answers"]):
                raise RuntimeError(f"{package} lost fields beside {foreign} keys")
            row[package] = statistics.median(answer["seconds"]) * 1000
        # A field that the published package writes: ours looks at all keys once, and finds it.
        packages[THEIRS].ask("open_cache", name=f"many-{OURS}-{foreign}")
        packages[THEIRS].ask("cache", verb="session.set", calls=[["t", "theirs", "v"]])
        answer = packages[OURS].ask("cache", verb="session.get_all", calls=[["t"]] * 11, keep=True)
        packages[OURS].ask("open_cache", name=f"many-{OURS}-{foreign}")
        if any("theirs" not in fields for fields in answer["answers"]):
            raise RuntimeError("a field of the published package was not found")
        row["ours, first after a foreign write"] = answer["seconds"][0] * 1000
        row["ours, after that"] = statistics.median(answer["seconds"][1:]) * 1000
    client.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        server = stack.enter_context(ValkeyServer())
        measured = measure(stack, server.url, arguments.calls, arguments.rounds)
        print(f"{'':20} {'ours, us':>10} {'published, us':>14} {'published / ours':>17}")
        for label, by_package in measured.items():
            mine, theirs = (statistics.median(by_package[package]) for package in (OURS, THEIRS))
            ratio = statistics.median(
                other / own for own, other in zip(by_package[OURS], by_package[THEIRS], strict=True)
            )
            figures[label] = {"ours_us": round(mine), "published_us": round(theirs), "ratio": round(ratio, 2)}
            print(f"{label:20} {mine:10.0f} {theirs:14.0f} {ratio:17.2f}")
    if arguments.threads:
        with ExitStack() as stack:
            server = stack.enter_context(ValkeyServer(search=False))
            figures["get_all beside other keys, ms"] = beside_many(stack, server)
            for foreign, row in figures["get_all beside other keys, ms"].items():
                print(f"beside {foreign} keys: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
