"""The page of a report: whole by itself, and safe whatever texts a dataset brings."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.drawing.charts import Series, bars, lines
from betterdb_agent_memory.evaluation import DEPTHS, Cost, Evaluation, Judged, Latency, Quality, StrategyResult
from betterdb_agent_memory.evaluation.report import html_report, quality_rows, speed_rows

EVIL = "<script>alert(1)</script>\"'&\x00"


def evaluation(*, dataset: str = "mine", category: str = "places", embedder: str = "wordllama") -> Evaluation:
    quality = Quality.of([Judged((0, 7), 2), Judged((3,), 2), Judged((), 1)])
    latency = Latency(1.234, 9.876)
    results = [
        StrategyResult(embedder, "vector", quality, {category: quality}, latency, Cost(1.0, 2345.6)),
        StrategyResult(embedder, "hybrid", quality, {category: quality}, latency, None),
    ]
    return Evaluation(dataset, 5, 3, 1, "server", "1.2.3", results, {embedder: 0.5})


class Page(HTMLParser):
    """What a browser makes of it: tags in order, those that do not match, and addresses it would fetch."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_report_needs_nothing_beside_it_and_every_plot_has_its_table() -> None:
    page = html_report(evaluation())
    seen = Page(page)
    assert not seen.open
    assert not seen.addresses
    assert "http" not in page.replace("http-equiv", "")
    assert not re.search(r"url\(|@import", page)
    order = [tag for tag in seen.tags if tag in ("svg", "table")]
    assert order == ["svg", "table", "svg", "table", "svg", "table", "table"]
    assert page.count("prefers-color-scheme: dark") == 1
    assert page.count('role="img"') == 3
    assert page.count("<caption>") == 4


def test_figures_are_in_tables_and_plots() -> None:
    texts = Page(html_report(evaluation())).texts
    for shown in ("33.3", "41.7", "0.417", "1.23", "9.88", "2,346", "1.00", "–", "places (3)", "1.23 ms"):
        assert shown in texts or shown.replace("41.7", "50.0") in texts, shown
    assert quality_rows(evaluation())[0] == ("vector", "16.7", "33.3", "50.0", "50.0", "66.7", "0.417")
    assert speed_rows(evaluation())[1] == ("hybrid", "1.23", "9.88", "–", "–")


def test_without_kinds_of_questions_there_is_no_such_part() -> None:
    found = evaluation()
    results = [replace(result, categories={}) for result in found.results]
    page = html_report(replace(found, results=results))
    assert "Kinds of questions" in html_report(found)
    assert "Kinds of questions" not in page


def test_texts_of_a_dataset_stay_texts() -> None:
    page = html_report(evaluation(dataset=EVIL, category=EVIL, embedder=EVIL))
    assert "<script" not in page
    assert "\x00" not in page
    assert any("<script>alert(1)</script>" in text for text in Page(page).texts)


VALUES = st.floats(0, 1e9, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=9))
def test_plots_stay_within_their_frame(rows: list[list[float]]) -> None:
    series = [Series(f"s{number}", row) for number, row in enumerate(rows)]
    names = [f"R@{depth}" for depth in DEPTHS]
    for plot in (lines("title", names, series), bars("title", names, series)):
        _, _, width, height = (float(part) for part in plot.attrib["viewBox"].split())
        for part in plot.iter():
            for axis, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                assert 0 <= float(part.get(axis, 0)) <= limit
            for corner in part.get("points", "").split():
                x, y = (float(number) for number in corner.split(","))
                assert 0 <= x <= width
                assert 0 <= y <= height
            assert float(part.get("x", 0)) + float(part.get("width", 0)) <= width
