"""Seven weeks of conversations: remembered, asked about, strengthened, forgotten, and still there tomorrow.

Everything here uses the public API only, so copy what you need. What is printed does not change from run
to run; how long things took goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

from betterdb_agent_memory import AgentMemory, AgentMemoryError, ConversationMessage, MemoryHit, MemoryListOptions

HERE = Path(__file__).resolve().parent
STORE = "agent_memory_demo"
TODAY = datetime.fromisoformat("2026-10-26T09:00:00+01:00")
SHOWN_HITS, JUDGED_HITS, SHOWN_QUESTIONS = 3, 5, 5
FORGOTTEN = "skin"


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance and the scope it belongs to."""

    user: str
    agent: str
    thread: str
    at: datetime
    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks what, which assistant's memories may answer (None: any), and which contents are right."""

    user: str
    agent: str | None
    text: str
    answers: frozenset[str]


def say(text: str, end: str = "\n") -> None:
    """What is told goes to stdout."""
    sys.stdout.write(text + end)


class Clock:
    """The time the demo plays in; without `clock=` the library takes the system's."""

    now = TODAY

    def __call__(self) -> int:
        """Milliseconds since the epoch."""
        return round(self.now.timestamp() * 1000)


def read_turns() -> list[Turn]:
    """Every utterance, in the order of the conversations."""
    sessions = json.loads((HERE / "transcript.json").read_text(encoding="utf-8"))
    return [
        Turn(s["user"], s["agent"], s["thread"], datetime.fromisoformat(t["at"]), t["speaker"], t["text"])
        for s in sessions
        for t in s["turns"]
    ]


def read_questions(turns: Sequence[Turn]) -> list[Question]:
    """What is asked in chapter 2."""

    def content(thread: str, number: int) -> str:
        return [turn.text for turn in turns if turn.thread == thread][number - 1]

    return [
        Question(q["user"], q["agent"], q["question"], frozenset(content(a["thread"], a["turn"]) for a in q["answers"]))
        for q in json.loads((HERE / "questions.json").read_text(encoding="utf-8"))
    ]


def title(text: str) -> None:
    """The heading of a chapter."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    say(f"\n{bold}{text}\n{'-' * len(text)}{plain}")


def report(what: str, started: float, times: int) -> None:
    """Durations differ from run to run, so they stay out of the output proper."""
    seconds = time.perf_counter() - started
    sys.stderr.write(f"[{what}: {times} times in {seconds:.2f} s, {seconds / times * 1000:.1f} ms each]\n")


def cut(text: str, width: int) -> str:
    """The text, shortened to fit."""
    return text if len(text) <= width else text[: max(width - 3, 0)].rstrip() + "..."


def day(when: datetime | int) -> str:
    """A date such as `7 Sep`; memories carry milliseconds since the epoch."""
    moment = when if isinstance(when, datetime) else datetime.fromtimestamp(when / 1000, TODAY.tzinfo)
    return f"{moment.day} {moment:%b}"


def said(hit: MemoryHit) -> str:
    """A turn as it is shown: who said it, and what."""
    return f"{hit.item.speaker}: {hit.item.content}"


def place(url: str) -> str:
    """Where the store is, without the password that a URL may carry."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if "://" in url else f"the file {url}"


class Demo:
    """The chapters, in the order they are told."""

    def __init__(self, agent: AgentMemory, clock: Clock, width: int) -> None:
        self.memory = agent.memory
        self.clock = clock
        self.width = width
        self.turns = read_turns()
        self.users = sorted({turn.user for turn in self.turns})

    async def count(self, thread: str | None = None) -> int:
        """How many of the demo's memories the store holds, in one conversation or in all."""
        scopes = [MemoryListOptions(namespace=user, thread_id=thread, limit=1) for user in self.users]
        return sum([(await self.memory.list(scope)).total for scope in scopes])

    async def start_over(self) -> None:
        """Forgets by scope: whatever else lives in the same database is not touched."""
        for user in self.users:
            await self.memory.forget_by_scope(namespace=user)

    async def look(self, question: str, user: str = "maya", agent: str | None = None) -> list[MemoryHit]:
        """Recall without leaving a trace, so that the tables do not change each other."""
        return await self.memory.recall(question, k=JUDGED_HITS, namespace=user, agent_id=agent, reinforce=False)

    def table(self, hits: Sequence[MemoryHit], answers: frozenset[str] = frozenset()) -> None:
        """Hits, best first: each part of the score is value times weight."""
        say("  #  score   =sim +match   +rec   +imp  dist  date    thread     text")
        for rank, hit in enumerate(hits[:SHOWN_HITS], 1):
            assert hit.explain is not None
            parts = {component.name: component.contribution for component in hit.explain.components}
            match = parts["words"] + parts["date"] + parts["actor"]
            numbers = [hit.score, parts["similarity"], match, parts["recency"], parts["importance"]]
            row = f"{'*' if hit.item.content in answers else ' '} {rank}  {'  '.join(f'{n:.3f}' for n in numbers)}"
            row += f"  {hit.distance:.2f}  {day(hit.item.occurred_at or 0):6}  {hit.item.thread_id or '':9}  "
            say(row + cut(said(hit), self.width - len(row)))

    async def remember(self) -> None:
        """Chapter 1: every turn becomes a memory, unless an earlier run has seen to it."""
        title("1. Remember")
        known, secret = await self.count(), await self.count(FORGOTTEN)
        if known == sum(turn.thread != FORGOTTEN or secret > 0 for turn in self.turns):
            say(f"The store knows {known} memories from an earlier run. Nothing is added.")
            return
        await self.start_over()  # A run that was interrupted may have left a part behind.
        started = time.perf_counter()
        for thread in dict.fromkeys(turn.thread for turn in self.turns):
            session = [turn for turn in self.turns if turn.thread == thread]
            for _, turns in groupby(session, key=lambda turn: turn.at.date()):
                await self.remember_turns(list(turns))
            first = session[0]
            say(f"{day(first.at):6}  {first.user:5} with {first.agent:7}  {thread:9}  {len(session)} turns")
        self.clock.now = TODAY
        say(f"\n{await self.count()} memories: every turn with its speaker and its time, under its own scope")
        say("(namespace: the user, agent_id: the assistant, thread_id: the conversation).")
        report("remember", started, len(self.turns))

    async def remember_turns(self, turns: Sequence[Turn]) -> None:
        """Here memories are made: at the end of a day, behind what was said in the thread before."""
        self.clock.now = turns[-1].at  # Without a clock of your own, they are written now.
        await self.memory.remember_conversation(
            [
                ConversationMessage(
                    turn.text,
                    speaker=turn.speaker,
                    occurred_at=turn.at,
                    # What people say of their lives outweighs the answers.
                    importance=0.4 if turn.speaker == "Assistant" else 0.6,
                )
                for turn in turns
            ],
            thread_id=turns[0].thread,
            agent_id=turns[0].agent,
            namespace=turns[0].user,
        )

    async def ask(self) -> None:
        """Chapter 2: what each question finds, and whether it is what answers it."""
        title(f"2. Ask, on {day(TODAY)}")
        say("score = similarity + matches (words, dates, persons) + recency + importance, as each enters the score;")
        say("dist: cosine distance, 0 to 2.")
        say("* is a turn that answers. Where minds were changed, only the newest word counts.")
        ranks: list[int] = []
        started = time.perf_counter()
        questions = read_questions(self.turns)
        for number, question in enumerate(questions):
            hits = await self.look(question.text, question.user, question.agent)
            right = [rank for rank, hit in enumerate(hits, 1) if hit.item.content in question.answers]
            ranks += right[:1]
            asked = f"{question.user.title()}{f' to {question.agent}' if question.agent else ''}: {question.text}"
            if number < SHOWN_QUESTIONS:
                say(f"\n{asked}")
                self.table(hits, question.answers)
                continue
            if number == SHOWN_QUESTIONS:
                say(f"\nThe others, with the rank of the answer (-: not in the first {JUDGED_HITS}):")
            say(f"  {right[0] if right else '-'}  {asked}")
        first, shown, all_hits = (sum(rank <= k for rank in ranks) for k in (1, SHOWN_HITS, JUDGED_HITS))
        say(f"\nOf {len(questions)} questions, {first} have their answer at rank 1,", end=" ")
        say(f"{shown} in the first {SHOWN_HITS}, {all_hits} in the first {JUDGED_HITS}.")
        report("recall", started, len(questions))

    async def keep_apart(self) -> None:
        """Chapter 3: a namespace sees its own memories and no others."""
        title("3. Keep users apart")
        question = "Is anyone planning a surprise party for Maya?"
        say(f"Tomas plans a surprise for Maya. Both ask: {question}")
        for user in self.users[::-1]:
            hits = await self.look(question, user)
            told = sum(hit.item.thread_id == "surprise" for hit in hits)
            say(f"  {user.title():5}  {told} of {len(hits)} hits from the conversation about the party")

    async def strengthen(self) -> None:
        """Chapter 4: what is recalled counts as used, and used memories win ties."""
        title("4. Strengthen what is used")
        question, reminder = "Is there a recipe for Sundays?", "How long does the potato gratin take?"
        say(f"Maya: {question}")
        self.table(await self.look(question))
        before = (await self.look(reminder))[0].item
        for days in (3, 2, 1):
            self.clock.now = TODAY - timedelta(days=days)
            await self.memory.recall(reminder, k=1, namespace="maya")
        self.clock.now = TODAY
        await self.memory.flush()  # Uses are written a moment later, many at once; we want to see them now.
        after = await self.memory.get(before.id)
        assert after is not None
        say(f"\nOn each of the last three days she asked: {reminder}")
        say(f"  found: {cut(f'{before.speaker}: {before.content}', self.width - 9)}")
        say(f"  recalled {before.access_count} times before, {after.access_count} times now;", end=" ")
        say(f"last used {day(before.last_accessed_at)} before, {day(after.last_accessed_at)} now\n")
        say(f"Maya, again: {question}")
        self.table(await self.look(question))

    async def forget(self) -> None:
        """Chapter 5: one conversation goes, the others stay."""
        title("5. Forget a conversation")
        question = "What did the doctor say?"
        before = await self.count()
        if await self.count(FORGOTTEN):
            say(f"Maya: {question}")
            self.table(await self.look(question))
            gone = await self.memory.forget_by_scope(namespace="maya", thread_id=FORGOTTEN)
            say(f'\nMaya wants "{FORGOTTEN}" gone: {gone} memories forgotten, {await self.count()} of {before} left.')
        else:
            say(f'An earlier run forgot the conversation "{FORGOTTEN}", and it stays forgotten.')
        hits = await self.look(question)
        left = sum(hit.item.thread_id == FORGOTTEN for hit in hits)
        say(f"\nMaya, again: {question} ({left} of {len(hits)} hits are from it)")
        self.table(hits)

    async def answer(self, question: str) -> None:
        """What `--ask` prints."""
        say(f'{await self.count()} memories, {await self.count(FORGOTTEN)} of the conversation "{FORGOTTEN}".')
        say(f"\nMaya: {question}")
        self.table(await self.look(question))


async def tell(url: str, question: str | None, *, fresh: bool, width: int) -> None:
    """All chapters but the last, or the answer to one question."""
    clock = Clock()
    async with AgentMemory.open(url, name=STORE, clock=clock) as agent:
        demo = Demo(agent, clock, width)
        if question:
            await demo.answer(question)
            return
        say(f"Memories live in {place(url)}.")
        if fresh:
            await demo.start_over()
        for chapter in (demo.remember, demo.ask, demo.keep_apart, demo.strengthen, demo.forget):
            await chapter()


def ask_in_new_process(url: str, *, width: int) -> None:
    """The URL travels in the environment: it may hold a password, and arguments are for all to see."""
    title("6. Open it again, in another process")
    sys.stdout.flush()  # or the other process would speak first
    command = [
        sys.executable,
        "-m",
        "betterdb_agent_memory.apps.demo",
        "--width",
        str(width),
        "--ask",
        "With whom will the dog stay?",
    ]
    if code := subprocess.run(command, env={**os.environ, "BETTERDB_URL": url}, check=False).returncode:
        sys.exit(code)
    say("\nRun the demo once more: it will know all this. Start over with --fresh.")


def run(url: str, question: str | None = None, *, fresh: bool = False, width: int = 110) -> None:
    """The whole story on the file or server at `url`, or the answer to one question."""
    asyncio.run(tell(url, question, fresh=fresh, width=width))
    if not question:
        ask_in_new_process(url, width=width)


def main() -> None:
    """What `python examples/demo.py` and `python -m betterdb_agent_memory.apps.demo` do."""
    parser = argparse.ArgumentParser(description="A tour of the memory: remember, ask, strengthen, forget, open again.")
    parser.add_argument("--url", default=os.environ.get("BETTERDB_URL") or "demo.db", help="file or server URL")
    parser.add_argument("--fresh", action="store_true", help="forget the demo's memories and start over")
    parser.add_argument("--ask", metavar="QUESTION", help="only ask this, as Maya")
    parser.add_argument("--width", type=int, default=110, help="columns of the output (default 110)")
    options = parser.parse_args()
    try:
        run(options.url, options.ask, fresh=options.fresh, width=options.width)
    except AgentMemoryError as error:
        sys.exit(f"demo: {error}")
