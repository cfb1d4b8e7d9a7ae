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
    """The fenced blocks of `languages`, in order."""
    text = text_of(page)
    matches = list(_FENCE.finditer(text))
    found = []
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        is_followed = (
            following is not None and following[1] == "text" and not text[match.end() : following.start()].strip()
        )
        output = following[2] if is_followed and following is not None else None
        found.append(Block(match[1], match[2], text.count("\n", 0, match.start()) + 1, output))
    return [block for block in found if block.language in languages]


def marked(page: Path, mark: str) -> str:
    """What stands behind the comment `<!-- checked: mark -->`, up to the next blank line after it began."""
    parts = text_of(page).split(f"<!-- checked: {mark} -->")
    assert len(parts) == 2, f"{name_of(page)} needs one comment <!-- checked: {mark} -->"
    return parts[1].lstrip("\n")


def table(page: Path, mark: str) -> list[list[str]]:
    """The rows of the marked table, without its head; cells without backticks around them."""
    lines = marked(page, mark).split("\n\n")[0].splitlines()
    assert len(lines) > 2, f"no table behind {mark} in {name_of(page)}"
    assert all(line.startswith("|") for line in lines), lines
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines[2:]]


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
