"""A page of HTML as a tree, so that no text of a user's is ever read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias
from xml.etree import ElementTree

Node: TypeAlias = ElementTree.Element

# Colours that people who do not see red and green tell apart (Okabe and Ito, 2008), darker and lighter ones.
_PALETTE: Final = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1b1f; --faint: #5c5f66; --rule: #d5d7db;
  --s0: #0060a0; --s1: #b34700; --s2: #00704e; --s3: #8a2f6f; --s4: #6b5d00; --s5: #3b3f46; }
@media (prefers-color-scheme: dark) { :root { --paper: #16171a; --ink: #e9eaee; --faint: #a6aab3; --rule: #3b3e45;
  --s0: #6db9f2; --s1: #f0a35e; --s2: #4fd1a5; --s3: #e59bcb; --s4: #e3d25a; --s5: #c6cad2; } }
"""
_IN_SVG: Final = """
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg text.faint { fill: var(--faint); }
svg .rule { stroke: var(--rule); stroke-width: 1; }
"""
_STYLE: Final = (
    _PALETTE
    + """
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; } p.about, figcaption { color: var(--faint); }
figure { margin: 1rem 0; } svg { height: auto; max-width: 100%; width: 46rem; }
"""
    + _IN_SVG
    + """
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { color: var(--faint); padding: .25rem 0; text-align: left; }
th, td { border-bottom: 1px solid var(--rule); padding: .3rem .75rem; text-align: right; }
th:first-child { text-align: left; } tbody th { font-weight: normal; }
"""
)
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def node(tag: str, *children: Node | str | None, **attributes: object) -> Node:
    """An element with texts and elements in it, in order; None is nothing.

    In names of attributes an underscore stands for a hyphen, one at the end for nothing: `class_`.

    >>> ElementTree.tostring(node("p", "1 < 2", node("br"), class_="x"), encoding="unicode", method="html")
    '<p class="x">1 &lt; 2<br></p>'
    """
    named = {name.rstrip("_").replace("_", "-"): _shown(str(value)) for name, value in attributes.items()}
    made = ElementTree.Element(tag, named)
    for child in children:
        if child is None:
            continue
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _shown(child)
        else:
            made.text = (made.text or "") + _shown(child)
    return made


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Node:
    """A table whose first column names the rows; wider than the window, it scrolls by itself."""
    head = node("tr", *(node("th", column, scope="col") for column in columns))
    body = (node("tr", node("th", first, scope="row"), *(node("td", cell) for cell in rest)) for first, *rest in rows)
    made = node("table", node("caption", caption), node("thead", head), node("tbody", *body))
    return node("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption)


def page(title: str, *body: Node) -> str:
    """A whole page that fetches nothing, and must not."""
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        node("title", title),
        node("style", _STYLE),
    )
    html = node("html", head, node("body", node("main", *body)), lang="en")
    ElementTree.indent(head)
    return "<!DOCTYPE html>\n" + ElementTree.tostring(html, encoding="unicode", method="html") + "\n"


def svg_file(drawing: Node) -> str:
    """A drawing as the text of an SVG file, with the colours for light and dark pages in it."""
    root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **drawing.attrib})
    root.append(node("style", _PALETTE + _IN_SVG))
    root.extend(drawing)
    return ElementTree.tostring(root, encoding="unicode", method="xml") + "\n"


def _shown(text: str) -> str:
    """What HTML cannot hold as the sign for that."""
    return _FORBIDDEN.sub("\ufffd", text)
