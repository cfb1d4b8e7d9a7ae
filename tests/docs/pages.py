"""README.md and docs/ as data: their fenced blocks, tables, headings and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `output` is that of a `text` block right behind it."""

    language: str
    text: str
    line: int
    output: str | None


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of `languages`, of all when none is named, in order."""
    text = text_of(page)
    found = []
    for match in _FENCE.finditer(text):
        behind = _FENCE.match(text, match.end() + 1)
        output = behind[2] if behind is not None and behind[1] == "text" else None
        found.append(Block(match[1], match[2], text.count("\n", 0, match.start()) + 1, output))
    return [block for block in found if not languages or block.language in languages]


def marked(page: Path, mark: str) -> str:
    """What stands behind the comment `<!-- checked: mark -->`, up to the next blank line after it began."""
    parts = text_of(page).split(f"<!-- checked: {mark} -->")
    assert len(parts) == 2, f"{name_of(page)} needs one comment <!-- checked: {mark} -->"
    return parts[1].lstrip("\n")


def table(page: Path, mark: str) -> list[list[str]]:
    """The rows of the marked table, without its head; a cell that is one piece of code without its backticks."""
    lines = marked(page, mark).split("\n\n")[0].splitlines()
    assert len(lines) > 2, f"no table behind {mark} in {name_of(page)}"
    assert all(line.startswith("|") for line in lines), lines
    return [[_plain(cell.strip()) for cell in line[1:-1].split("|")] for line in lines[2:]]


def _plain(cell: str) -> str:
    code = re.fullmatch(r"`([^`]*)`", cell)
    return code[1] if code else cell


def fenced(page: Path, mark: str) -> str:
    """The text of the marked block."""
    match = _FENCE.match(marked(page, mark))
    assert match, f"no block behind {mark} in {name_of(page)}"
    return match[2]


def anchors(page: Path) -> set[str]:
    """The fragments that a link to a heading of the page may have."""
    without_code = _FENCE.sub("", text_of(page))
    titles = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """Where the page points to, code left out."""
    return _LINK.findall(_FENCE.sub("", text_of(page)))
