"""An evaluation as rows of a table, and as a page of HTML with plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from betterdb_agent_memory.drawing.charts import Series, bars, lines
from betterdb_agent_memory.drawing.markup import Node, node, page, table
from betterdb_agent_memory.evaluation.metrics import DEPTHS, Quality
from betterdb_agent_memory.evaluation.results import Evaluation, StrategyResult

CATEGORY_DEPTH: Final = 10
_NOTHING: Final = "–"

QUALITY_COLUMNS: Final = ("strategy", *(f"R@{depth}" for depth in DEPTHS), f"hit@{CATEGORY_DEPTH}", "MRR")
"""Shares in per cent, MRR from 0 to 1."""
SPEED_COLUMNS: Final = ("strategy", "p50 ms", "p99 ms", "round trips", "bytes")
"""Of one query; on a file there is no traffic."""


def quality_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """A row for each result, under `QUALITY_COLUMNS`."""
    return [(_name(evaluation, result), *_quality(result.overall)) for result in evaluation.results]


def speed_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """A row for each result, under `SPEED_COLUMNS`."""
    return [(_name(evaluation, result), *_speed(result)) for result in evaluation.results]


def near_miss_lines(evaluation: Evaluation) -> list[str]:
    """A sentence for each result whose threshold kept all memories from some question."""
    return [
        f"{result.label}: nothing was found for {result.near_misses:,} of {result.overall.questions:,} questions "
        "though a memory lay just beyond the threshold"
        for result in evaluation.results
        if result.near_misses
    ]


def category_columns(evaluation: Evaluation) -> tuple[str, ...]:
    """`kind of question`, and each result by its name."""
    return ("kind of question", *(_name(evaluation, result) for result in evaluation.results))


def category_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """R@10 of each result in each category, in per cent, under `category_columns`."""
    return [
        (title, *(_percent(result.categories[name].recall[CATEGORY_DEPTH]) for result in evaluation.results))
        for name, title in zip(evaluation.categories, _titles(evaluation), strict=True)
    ]


def summary(evaluation: Evaluation) -> str:
    """What was asked of what, in a line."""
    told = f"{evaluation.questions:,} questions about {evaluation.memories:,} memories in a {evaluation.engine}"
    return f"{told}; {evaluation.left_out:,} questions without an answer left out" if evaluation.left_out else told


def html_report(evaluation: Evaluation) -> str:
    """A whole page: it needs no network and nothing beside it, and every plot has its table."""
    return page(
        f"Recall on {evaluation.dataset}",
        node("h1", f"Recall on {evaluation.dataset}"),
        node("p", f"{summary(evaluation)}. betterdb-agent-memory {evaluation.version}.", class_="about"),
        *_recall_section(evaluation),
        *_category_section(evaluation),
        *_speed_section(evaluation),
        *_method_section(),
    )


def _recall_section(evaluation: Evaluation) -> Iterator[Node]:
    title = "Share of the expected memories among the first k"
    series = [
        Series(_name(evaluation, result), [100 * result.overall.recall[depth] for depth in DEPTHS])
        for result in evaluation.results
    ]
    yield node("h2", "Recall")
    yield _figure(lines(title, [f"R@{depth}" for depth in DEPTHS], series, unit="%"), title)
    yield table("Per cent, MRR from 0 to 1", QUALITY_COLUMNS, quality_rows(evaluation))


def _category_section(evaluation: Evaluation) -> Iterator[Node]:
    if not evaluation.categories:
        return
    title = f"R@{CATEGORY_DEPTH} by kind of question"
    series = [
        Series(
            _name(evaluation, result),
            [100 * result.categories[name].recall[CATEGORY_DEPTH] for name in evaluation.categories],
        )
        for result in evaluation.results
    ]
    yield node("h2", "Kinds of questions")
    yield _figure(bars(title, _titles(evaluation), series, unit="%"), title)
    yield table(f"R@{CATEGORY_DEPTH}, per cent", category_columns(evaluation), category_rows(evaluation))


def _speed_section(evaluation: Evaluation) -> Iterator[Node]:
    title = "Milliseconds that a caller waits for a recall"
    series = [
        Series(_name(evaluation, result), (result.latency.p50_ms, result.latency.p99_ms))
        for result in evaluation.results
    ]
    yield node("h2", "Speed")
    yield _figure(bars(title, ("p50", "p99"), series, unit=" ms", digits=2), title)
    about = "Milliseconds a query, embedding included; traffic with a server a query"
    yield table(about, SPEED_COLUMNS, speed_rows(evaluation))
    for line in near_miss_lines(evaluation):
        yield node("p", line)
    loading = ((name, f"{seconds:.1f}") for name, seconds in evaluation.loading_seconds.items())
    yield table("Seconds to remember everything, embedding included", ("embedder", "seconds"), loading)


def _method_section() -> Iterator[Node]:
    yield node("h2", "What the figures mean")
    yield node(
        "p",
        "Every question was asked for 20 memories, one after the other, and changed nothing. R@k is the share of the "
        "memories expected for a question that are among the first k, hit@k whether at least one is, MRR one divided "
        "by the rank of the first; all are means over the questions.",
    )


def _figure(plot: Node, caption: str) -> Node:
    return node("figure", plot, node("figcaption", f"{caption}. The table below has the same figures."))


def _name(evaluation: Evaluation, result: StrategyResult) -> str:
    """The strategy; with several embedders the embedder too."""
    return result.strategy if len(evaluation.loading_seconds) == 1 else result.label


def _titles(evaluation: Evaluation) -> list[str]:
    """Each category with how many questions it has."""
    first = evaluation.results[0].categories
    return [f"{name} ({first[name].questions})" for name in evaluation.categories]


def _quality(quality: Quality) -> tuple[str, ...]:
    recalls = (_percent(quality.recall[depth]) for depth in DEPTHS)
    return (*recalls, _percent(quality.hit[CATEGORY_DEPTH]), f"{quality.mrr:.3f}")


def _speed(result: StrategyResult) -> tuple[str, ...]:
    waited = (f"{result.latency.p50_ms:.2f}", f"{result.latency.p99_ms:.2f}")
    if result.cost is None:
        return (*waited, _NOTHING, _NOTHING)
    return (*waited, f"{result.cost.round_trips:.2f}", f"{result.cost.bytes:,.0f}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
