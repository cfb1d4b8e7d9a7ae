"""neuromemory-ai (engram) lives through the events of a simulated life, in its own environment.

It reads the machine's clock in each call: there `time-machine` sets the clock of this process, and of this alone.
Every call is the one that its README shows for the case:

said           `add` with kind, importance and entities; `contradicts=` where the user says so
corrected      `update_memory`
asked          `recall` with `limit`, and the words of the context as `context=`
reaction       `reward` with a sentence that it counts as praise or blame
every night    `consolidate` and `forget`, as its README has them in a cron job

Its full-text search takes the question as an expression of its own: a question mark, a comma or an apostrophe is a
syntax error, so punctuation is taken out. Three ways of asking are tried: the words as they stand ("words"); the
words without the small ones of English, joined by OR ("or"); and these, given as words of the context too ("cues").
Maintenance is nightly or never. "flat" recalls without the links between memories (`graph_expand=False`), "sure" only
what it is sure of (`min_confidence=.5`, which most of what was contradicted does not reach). The store is in memory, as
its README offers: a year on a disk takes hours.

    python -m benchmarks.peers.with_neuromemory FOLDER PRESET,ASKING,NIGHTS[,flat][,sure] ...

reads FOLDER/events.jsonl, lives through it once for each setting, and writes FOLDER/answers.json.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.simulation.driving import Hit, Reference, drive
from benchmarks.simulation.events import START_MS, Say, plain_answers, read_events

PRAISE, BLAME = "perfect, that is exactly right, thank you", "no, that is wrong"

OPTIONS: Mapping[str, Mapping[str, Any]] = {"flat": {"graph_expand": False}, "sure": {"min_confidence": 0.5}}

_SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about again am and are as at be by did do does for from go had has have how i in is it me meant my of on or
        our said shall she should so that the their them there they things this to was we were what when where which
        who whom whose why will with you your""",
    )
)


class Neuromemory:
    """A `Memory` of a preset; `travel` sets the clock it sees."""

    def __init__(self, preset: str, asking: str, nightly: bool, recalling: Mapping[str, Any], travel: Any) -> None:
        from engram import Memory
        from engram.config import MemoryConfig

        self._memory = Memory(":memory:", config=getattr(MemoryConfig, preset)())
        self._asking = asking
        self._nightly = nightly
        self._recalling = recalling
        self._travel = travel

    def advance(self, now_ms: int) -> None:
        self._travel.move_to(datetime.fromtimestamp(now_ms / 1000, UTC), tick=False)

    def remember(self, said: Say) -> Reference:
        return self._add(said)

    def replace(self, said: Say, old: Reference) -> Reference:
        if said.how == "correct":
            return str(self._memory.update_memory(old, said.text))
        return self._add(said, contradicts=old)

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        words = re.findall(r"\w+", question)
        cues = list(context)
        if self._asking != "words":
            words = [word for word in words if word.lower() not in _SMALL_WORDS] or words
        if self._asking == "cues":
            cues += words
        expression = (" " if self._asking == "words" else " OR ").join(words)
        found = self._memory.recall(expression, limit=k, context=cues or None, **self._recalling)
        return [Hit(hit["id"], hit["confidence"]) for hit in found]

    def feedback(self, hits: Sequence[Hit], used: Sequence[Reference], value: float) -> None:
        self._memory.reward(PRAISE if value > 0 else BLAME)

    def night(self, day: int) -> None:
        if self._nightly:
            self._memory.consolidate()
            self._memory.forget()

    def size(self) -> tuple[int, int]:
        stats = self._memory.stats()
        held = stats["total_memories"]
        return held, held - stats["layers"]["archive"]["count"]

    def _add(self, said: Say, **contradicting: str) -> Reference:
        return str(
            self._memory.add(
                said.text, type=said.kind, importance=said.importance, entities=list(said.entities), **contradicting
            )
        )


def main(folder: Path, settings: Sequence[str]) -> None:
    import time_machine

    events = read_events(folder / "events.jsonl")
    answers = {}
    for setting in settings:
        preset, asking, nights, *chosen = setting.split(",")
        recalling = {name: value for one in chosen for name, value in OPTIONS[one].items()}
        with time_machine.travel(datetime.fromtimestamp(START_MS / 1000, UTC), tick=False) as travel:
            system = Neuromemory(preset, asking, nights == "nightly", recalling, travel)
            answers[setting] = plain_answers(drive(system, events))
    stored = {"answers": answers, "versions": {"neuromemory-ai": version("neuromemory-ai")}}
    (folder / "answers.json").write_text(json.dumps(stored), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
