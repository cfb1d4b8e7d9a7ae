"""Every example of README.md and docs/ runs as it stands and prints what is printed beside it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey

from betterdb_agent_memory import AgentMemory, FunctionEmbedder, Id, Importance, MemoryItem, MemoryOptions
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, links, name_of, text_of
from tests.embedding import embed
from tests.servers import ValkeyServer

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
RUNNER = Path(__file__).with_name("run_blocks.py")

pytestmark = pytest.mark.xdist_group("docs")


def on_test_server(source: str, server: ValkeyServer) -> str:
    """The one thing an example is not run with as it stands: its server."""
    for scheme in ("valkey", "redis"):
        source = source.replace(f"{scheme}://localhost:6379", f"{scheme}://127.0.0.1:{server.port}")
    return source


Run = Callable[..., str]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """What a Python process prints in an empty folder, with an empty home and no settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BETTERDB_", "XDG_"))}
    # A library's own threads would not be there in a process that is forked.
    ours = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(RUNNER)],
        env=kept | ours,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as runner:
        questions, answers = runner.stdin, runner.stdout
        assert questions is not None
        assert answers is not None

        def ask(folder: Path, **what: Any) -> str:
            folder.mkdir()
            print(json.dumps({"folder": str(folder), **what}), file=questions, flush=True)
            answer = json.loads(answers.readline())
            assert answer["status"] == 0, answer["errors"]
            return str(answer["output"])

        yield ask


def is_program(block: Block) -> bool:
    """Whether a block is a whole program; the others of a page continue each other."""
    return "asyncio.run(" in block.text


@pytest.fixture
def server(valkey_server: ValkeyServer) -> ValkeyServer:
    """The server of the session, empty, since examples use the default name."""
    with valkey_server.blocking_client() as client:
        client.flushall()
    return valkey_server


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_run_and_print_what_they_show(
    page: Path, server: ValkeyServer, tmp_path: Path, run: Run
) -> None:
    examples = blocks(page, "python")
    continued = [block for block in examples if not is_program(block)]
    sources = [on_test_server(block.text, server) for block in continued]
    printed = json.loads(run(tmp_path / "page", sources=sources)) if sources else []
    outcomes = list(zip(continued, printed, strict=True))
    for block in filter(is_program, examples):
        program = tmp_path / f"line_{block.line}.py"
        program.write_text(on_test_server(block.text, server), encoding="utf-8")
        outcomes.append((block, run(tmp_path / program.stem, program=str(program))))
    for block, output in outcomes:
        assert output == (block.output or ""), f"{name_of(page)}, line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_language_it_is(page: Path) -> None:
    assert text_of(page).count("\n```") == 2 * len(blocks(page)), "a block is not closed, or not at the margin"
    assert {block.language for block in blocks(page)} <= {"python", "text", "sh", "mermaid", "promql"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_shell_commands_name_what_exists(page: Path) -> None:
    shell = "\n".join(block.text for block in blocks(page, "sh"))
    assert set(re.findall(r"^make ([a-z-]+)", shell, re.MULTILINE)) <= TARGETS
    for module in re.findall(r"python -m (benchmarks\.\w+)", shell):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    for script in re.findall(r"python ((?:examples|benchmarks|scripts)/\w+\.py)", shell):
        assert (ROOT / script).is_file(), script
    for module, arguments in re.findall(r"python (?:-m )?((?:benchmarks|examples)[./]\w+)(?:\.py)?(.*)", shell):
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert [flag for flag in re.findall(r"--[a-z-]+", arguments) if f'"{flag}"' not in source] == [], module


def operator_commands() -> list[tuple[str, list[str]]]:
    """The valkey-cli lines of every page, split into words."""
    return [
        (name_of(page), shlex.split(line.removeprefix("valkey-cli "), comments=True))
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.text.splitlines()
        if line.startswith("valkey-cli ")
    ]


def test_a_server_accepts_every_operator_command(tmp_path: Path) -> None:
    # A server of its own: a command may concern all of it, such as users.
    with ValkeyServer() as server:
        asyncio.run(_remember_something(server.url))
        with server.blocking_client() as client:
            commands = operator_commands()
            assert len(commands) >= 5
            for page, words in commands:
                try:
                    client.execute_command(*words)
                except valkey.ResponseError as error:
                    pytest.fail(f"{page}: {' '.join(words)}: {error}")
            # The user that docs/engines.md defines may do all that a store does, and no more.
            url = f"valkey://agent:choose-a-password@127.0.0.1:{server.port}"
            asyncio.run(_use_everything(url))
            asyncio.run(_use_what_goes_beyond_one_memory(url, tmp_path / "memories.jsonl"))
            restricted = valkey.Valkey(port=server.port, username="agent", password="choose-a-password")
            with restricted, pytest.raises(valkey.exceptions.NoPermissionError):
                restricted.flushall()


async def _remember_something(url: str) -> None:
    async with AgentMemory.open(url) as agent:
        await agent.memory.remember("The index exists.", thread_id="t")


async def _use_everything(url: str) -> None:
    async with AgentMemory.open(url) as agent:
        memory = agent.memory
        id = await memory.remember("May this user do it?", thread_id="u", ttl=60)
        assert await memory.recall("May this user do it?", thread_id="u")
        await memory.flush()
        assert await memory.get(id)
        await memory.list()
        stats = await memory.stats()
        assert stats.background_failures == 0
        assert stats.lost_reinforcements == 0
        assert await memory.forget(id)
        await memory.forget_by_scope(thread_id="t")
    async with AgentMemory.open(url, memory=MemoryOptions(max_items_per_scope=1)) as agent:
        for number in range(2):
            await agent.memory.remember(f"Number {number}", thread_id="v")
        assert (await agent.memory.stats()).evictions == 1


async def _use_what_goes_beyond_one_memory(url: str, file: Path) -> None:
    async with AgentMemory.open(url, next_embedder=FunctionEmbedder(embed, name="letters")) as agent:
        memory = agent.memory
        for _ in range(2):
            results = await memory.remember_many(["one", "two"], on_duplicate="merge", thread_id="w")
        assert [result.outcome for result in results] == ["merged", "merged"]
        ids = [result.id or "" for result in results]
        for replacing in ({}, {"on_duplicate": "replace"}):
            content = f"three {len(replacing)}"
            await memory.remember(content, id="three", ttl=60, thread_id="w", **replacing)  # type: ignore[arg-type]
        assert (await memory.update("three", content="drei", ttl=90)).version == 3
        assert len([item async for item in memory.iterate(thread_id="w", where=Importance.at_least(0.1))]) == 3
        assert len(await memory.recall("one", where=Id(*ids), threshold=2)) == 2
        assert (await memory.export_to(file, thread_id="w")).exported == 3
        assert (await memory.import_from(file, on_existing="replace")).imported == 3
        assert (await memory.consolidate(summarize=_a_word, thread_id="w")).deleted == 3
        assert (await memory.migration.start()).phase == "filling"
        assert (await memory.migration.abandon()).phase == "none"
        assert await memory.forget_many(["three"]) == [False]
        assert (await memory.stats()).background_failures == 0


async def _a_word(memories: list[MemoryItem]) -> str:
    return "word"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if fragment:
            assert fragment in anchors(target), f"{name_of(page)} links to {link}"


def test_the_two_commands_stand_in_the_readme_word_for_word() -> None:
    assert "```sh\nmake demo\nmake test\n```" in text_of(ROOT / "README.md")


def test_every_page_is_in_the_index() -> None:
    listed = set(links(ROOT / "docs" / "README.md"))
    assert {page.name for page in PAGES[1:] if page.name != "README.md"} <= listed
