"""What people see and what programs read. JSON goes to stdout alone; progress and complaints to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import TaskID

    from betterdb_agent_memory import MemoryHit, MemoryItem, MemoryVersion, Progress, ProgressFn

_STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_OF_THE_MEMORY = ("id", "kind", "pinned")
_UNITS = (("y", 31_557_600), ("w", 604_800), ("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def print_json(value: object) -> None:
    """One JSON document on a line of its own."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: object) -> Any:
    """What JSON can say of a value of ours."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if isinstance(value, BaseException):
        return str(value)
    return value


def memory_json(item: MemoryItem) -> dict[str, Any]:
    """A memory as machines read it: the fields of MemoryItem under their names."""
    return dict(plain(item))


def hit_json(hit: MemoryHit) -> dict[str, Any]:
    """A hit as machines read it: score and distance, what the score is made of, how the memory stands, the memory."""
    explain = hit.explain
    assert explain is not None
    return {
        "score": hit.score,
        "distance": hit.distance,
        "explain": {
            "threshold": explain.threshold,
            "scoring": explain.scoring,
            "exact": explain.exact,
            "outranks": list(explain.outranks),
            "matched": [] if explain.relevance is None else list(explain.relevance.matched),
            "age_seconds": explain.age_seconds,
            "half_life_seconds": explain.half_life_seconds,
            "link": None if explain.link is None else plain(explain.link),
            "components": [
                {"name": part.name, "value": part.value, "weight": part.weight} for part in explain.components
            ],
        },
        "standing": {name: value for name, value in plain(hit.standing).items() if name not in _OF_THE_MEMORY},
        "memory": memory_json(hit.item),
    }


def age(age_seconds: float) -> str:
    """How long ago, in the largest unit that fits: `3 d`, `2 w`, `now`.

    >>> age(90_000)
    '1 d'
    """
    for unit, length in _UNITS:
        if age_seconds >= length:
            return f"{int(age_seconds // length)} {unit}"
    return "now"


def _age_of(item: MemoryItem, now_ms: int) -> str:
    return age((now_ms - item.created_at) / 1000)


def moment(time_ms: int | None) -> str:
    """A time in UTC, to the second; empty for none."""
    if time_ms is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


def counted(count: int) -> str:
    """`1 memory`, `2 memories`."""
    return f"{count:,} {'memory' if count == 1 else 'memories'}"


def say(text: str) -> None:
    """A line for people on stdout."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """A line for people on stderr, behind what was printed."""
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """A table as wide as the terminal; the last column takes what is left and wraps.

    Texts are shown as they are: nothing in a memory is markup, and control characters are left out.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        is_last = column == columns[-1]
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=not is_last)
    for row in rows:
        table.add_row(*[Text(printable(str(cell))) for cell in row])
    Console(highlight=False, soft_wrap=False).print(table)


def printable(text: str) -> str:
    r"""Text that cannot steer a terminal or turn a line around: what would is shown as `?`; line ends stay.

    >>> printable("red: \x1b[31m")
    'red: ?[31m'
    """
    return _STEERING.sub("?", text.replace("\t", " "))


def items_table(items: Sequence[MemoryItem], now_ms: int) -> None:
    """Memories, a row each."""
    print_table(
        ("id", "age", "importance", "tags", "content"),
        [
            (
                item.id,
                _age_of(item, now_ms),
                f"{item.importance:g}",
                ", ".join(item.tags),
                item.content,
            )
            for item in items
        ],
        numbers=("age", "importance"),
    )


def versions_table(versions: Sequence[MemoryVersion]) -> None:
    """Versions of a memory, a row each; when they were put away where one was."""
    are_archived = any(one.archived_at is not None for one in versions)
    rows = []
    for one in versions:
        archived = (moment(one.archived_at),) if are_archived else ()
        rows.append((one.item.id, moment(one.valid_from), moment(one.valid_until), *archived, one.item.content))
    print_table(("id", "valid from (UTC)", "until", *(("archived",) if are_archived else ()), "content"), rows)


_PARTS_BESIDE = 4


def hits_table(hits: Sequence[MemoryHit], now_ms: int, *, explain: bool) -> None:
    """Hits, best first; with `explain` what each part adds to the score, in the place of the ids.

    A part that adds nothing to any of them has no column. More parts than fit beside a content stand below it.
    """
    reasons = [hit.explain for hit in hits if explain and hit.explain is not None]
    parts = tuple(dict.fromkeys(part.name for one in reasons for part in one.components if part.contribution))
    below = len(parts) > _PARTS_BESIDE
    beside = () if below else parts
    rows = []
    for hit in hits:
        assert hit.explain is not None
        added = {part.name: f"{part.contribution:+.3f}" for part in hit.explain.components if part.name in parts}
        said = "  ".join(f"{name} {added[name]}" for name in parts if float(added.get(name, 0))) if below else ""
        rows.append(
            (
                f"{hit.score:.3f}",
                *[added.get(part, "") for part in beside],
                f"{hit.distance:.3f}",
                _age_of(hit.item, now_ms),
                *(() if explain else (hit.item.id,)),
                f"{_content_of(hit)}\n{said}" if said else _content_of(hit),
            )
        )
    numbers = ("score", *beside, "distance", "age")
    print_table((*numbers, *(() if explain else ("id",)), "content"), rows, numbers=numbers)


def _content_of(hit: MemoryHit) -> str:
    link = None if hit.explain is None else hit.explain.link
    return hit.item.content if link is None else f"(linked to {link.via or link.start}) {hit.item.content}"


def pairs_table(pairs: Mapping[str, object]) -> None:
    """Names and values, a row each."""
    print_table(("field", "value"), [(name, value) for name, value in pairs.items()])


@contextmanager
def progress_bar() -> Iterator[ProgressFn]:
    """A bar on stderr that follows what it is told; nothing where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def follow(progress: Progress) -> None:
            task = tasks.get(progress.stage)
            if task is None:
                task = tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total)
            bars.update(task, completed=progress.done, total=progress.total)

        yield follow
