"""What a million memories take is arithmetic on what thousands took: the arithmetic, and the benchmark in small."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import layouts
from benchmarks.scale.exact import Exact
from benchmarks.scale.report import report, write_into
from benchmarks.scale.results import BudgetSpentError, Results
from benchmarks.scale.sizing import GIB, Growing, Parts, Shard, fleet, middle
from benchmarks.scale.stores import KINDS, Effort, InFile, OnServer
from benchmarks.synthetic import Corpus
from betterdb_agent_memory.memory import record
from tests.servers import ValkeyServer

NOW_MS = 1_763_750_000_000
PARTS = Parts(
    record=600,
    vector=50,
    document=200,
    graph=250,
    tags=20,
    numbers=100,
    words=100,
    words_of_a_byte=0.75,
    term=300,
)


def test_bytes_of_a_memory_are_the_sum_of_what_its_size_and_its_index_take() -> None:
    # 600 + 400, two vectors of 384 numbers with 50, 200, 250 and 16 links of 8, 20, 100, words of 100 + 300.
    assert PARTS.bytes_of(384, 400) == 1000 + 2 * 4 * 384 + 50 + 200 + 250 + 16 * 8 + 20 + 100 + 400
    assert PARTS.bytes_of(384, 400, links=32) - PARTS.bytes_of(384, 400) == 16 * 8
    assert PARTS.bytes_of(384, 400, terms_a_memory=0.5) - PARTS.bytes_of(384, 400) == 150
    assert PARTS.bytes_of(384, 401) - PARTS.bytes_of(384, 400) == 1.75
    assert PARTS.bytes_of(385, 400) - PARTS.bytes_of(384, 400) == 8


def test_parts_are_found_again_in_stores_with_and_without_them() -> None:
    cells = {layout.name: _as_measured(layout) for layout in layouts.layouts()}
    found = layouts.parts(cells)
    for field in fields(Parts):
        assert getattr(found, field.name) == pytest.approx(getattr(PARTS, field.name), abs=0.01), field.name


def _as_measured(layout: layouts.Layout) -> dict[str, float]:
    """What a server would show whose memories take exactly `PARTS`."""
    content = layout.content_bytes or 110
    # Longer contents and more of them have more words, and ever fewer that are new.
    terms = float(math.isqrt(layout.memories * content)) if "text" in (layout.indexed or ()) else 0.0
    parts = PARTS.of_memory(
        layout.dimensions, content, links=layout.links or 16, terms_a_memory=terms / layout.memories
    )
    kinds = {"tag": "index: tags", "number": "index: numbers", "text": "index: words"}
    left_out = {part for kind, part in kinds.items() if kind not in (layout.indexed or ())}
    if "vector" not in (layout.indexed or ()):
        left_out |= {"index: vector", "index: graph"}
    if not layout.has_vector:
        left_out |= {"hash: vector"}
    if layout.indexed is None:
        left_out |= {"index: entry of the memory"}
    total = sum(size for part, size in parts.items() if part not in left_out)
    return {"bytes": total, "content_bytes": content, "terms": terms}


@given(st.floats(0.01, 5), st.floats(0, 1), st.lists(st.integers(1_000, 10**7), min_size=2, max_size=5, unique=True))
def test_what_grows_with_the_logarithm_is_found_from_points_on_it(
    at_one: float, per_e: float, sizes: list[int]
) -> None:
    grown = Growing.through([(size, Growing(at_one, per_e).at(size)) for size in sizes])
    assert grown.at(10**9) == pytest.approx(Growing(at_one, per_e).at(10**9), rel=1e-3, abs=1e-3)


def test_the_time_to_build_is_the_sum_of_the_writes() -> None:
    write = Growing(0.1, 0.08)
    one_by_one = sum(write.at(memories) for memories in range(1, 100_001))
    assert write.total(100_000) == pytest.approx(one_by_one, rel=1e-4)
    # The mean of a growth is what a write took at its middle.
    mean = (write.total(300_000) - write.total(100_000)) / 200_000
    assert write.at(middle(100_000, 300_000)) == pytest.approx(mean, rel=1e-9)
    assert write.at(middle(0, 10_000)) == pytest.approx(write.total(10_000) / 10_000, rel=1e-9)
    assert Growing.through([(10_000, 0.3)]).at(10**6) == 0.3


def test_servers_for_a_billion() -> None:
    # 64 GiB of which six tenths hold memories of 4 KiB: 10,066,329 of them; a hundred of such servers for a billion.
    shard, write = Shard(64 * GIB), Growing(0.5, 0)
    one = fleet(10**9, 4096, shard, write)
    assert (shard.holds(4096), one.shards, one.stores, one.store_memories) == (10_066_329, 100, 100, 10_000_000)
    assert one.build_seconds == pytest.approx(5_000)
    assert one.writes_a_second == pytest.approx(200_000)
    # Stores of four million leave a fifth of each server empty.
    assert fleet(10**9, 4096, shard, write, store_memories=4_000_000).shards == 125
    with pytest.raises(ValueError, match="does not fit"):
        fleet(10**9, 4096, shard, write, store_memories=11_000_000)


@given(st.integers(1, 10**9), st.integers(1_000, 20_000), st.none() | st.integers(1, 500_000))
def test_all_memories_have_room_and_no_store_is_cut(memories: int, size: int, store_memories: int | None) -> None:
    shard = Shard(16 * GIB)
    made = fleet(memories, size, shard, Growing(0.5, 0.1), store_memories=store_memories)
    stores_of_a_shard = math.ceil(made.stores / made.shards)
    assert made.stores * made.store_memories >= memories
    assert stores_of_a_shard * made.store_memories <= shard.holds(size)
    assert made.shards <= made.stores


def test_a_figure_is_measured_once_and_an_error_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    with Results(path).measuring("server/384/1000/growth") as cell:
        cell["used_bytes"] = 5000.0
    again = Results(path, budget_seconds=-1)
    assert "server/384/1000/growth" in again
    with pytest.raises(BudgetSpentError), again.measuring("server/384/2000/growth"):
        pytest.fail("began though the budget is spent")
    more = Results(path)
    with pytest.raises(RuntimeError, match="half"), more.measuring("server/384/2000/growth"):
        raise RuntimeError("half")
    assert list(Results(path).cells) == ["server/384/1000/growth"]


def test_nothing_measured_makes_no_table() -> None:
    results = Results(None)
    assert report(results) == {}
    results.machine = {"cores": 2}
    assert report(results) == {}


def test_a_page_gets_its_tables_anew(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- figures: growth -->\n| old |\n| --- |\n| 1 |\n\nText.\n", encoding="utf-8")
    for table in ("| a |\n| --- |\n| 2 |", "| b |\n| --- |\n| 3 |\n| 4 |"):
        write_into(page, {"growth": table})
        assert page.read_text(encoding="utf-8") == f"# Page\n\n<!-- figures: growth -->\n{table}\n\nText.\n"
    with pytest.raises(ValueError, match="no place for the table 'recall'"):
        write_into(page, {"recall": "| c |"})


async def test_a_small_run_on_a_server_and_in_a_file(tmp_path: Path) -> None:
    corpus, size = Corpus(64, NOW_MS), 3_000
    exact, results = Exact(corpus, size), Results(None)
    with ValkeyServer() as server:
        store = OnServer(server.url, corpus, size)
        file = InFile(tmp_path / "memory.db", corpus, size)
        for engine, one in (("server", store), ("file", file)):
            with results.measuring(f"{engine}/64/{size}/growth") as cell:
                cell |= await one.grow(size)
            with results.measuring(f"{engine}/64/{size}/asked") as cell:
                cell |= await one.ask(size, Effort(4, 1), exact)
        await store.close()
    asked = {engine: results.cells[f"{engine}/64/{size}/asked"] for engine in ("server", "file")}
    assert asked["file"]["recall_at_10"] == dict.fromkeys(KINDS, 1.0)
    assert asked["server"]["recall_at_10"]["1%"] == asked["server"]["recall_at_10"]["10%"] == 1.0
    assert asked["server"]["recall_at_10"]["100%"] > 0.98
    # Two vectors of 64 numbers, and less than three kilobytes of everything else.
    assert 512 < results.cells[f"server/64/{size}/growth"]["used_bytes"] < 512 + 3_000
    assert 256 < results.cells[f"file/64/{size}/growth"]["file_bytes"] < 256 + 1_500
    assert {"growth", "recall", "file", "whole scopes"} <= set(report(results))


def test_the_ten_nearest_are_those_of_the_scope() -> None:
    corpus = Corpus(32, NOW_MS)
    exact = Exact(corpus, 2_000)
    [question, *_] = corpus.questions(1, range(2_000))
    ids, vectors = corpus.ids_and_vectors(2_000)
    writes = [write for chunk in corpus.writes(2_000) for write in chunk]
    assert [write.id for write in writes] == ids
    scope = question.scope("10%")["agent_id"].encode()
    own = [place for place, write in enumerate(writes) if write.fields[record.AGENT] == scope]
    nearest = sorted(own, key=lambda place: -float(vectors[place] @ question.vector))[:10]
    found = [ids[place] for place in nearest]
    assert exact.share_found(question, "10%", 2_000, found) == 1.0
    assert exact.share_found(question, "10%", 2_000, [*found[:7], "unknown"]) == 0.7
    farthest = min(own, key=lambda place: float(vectors[place] @ question.vector))
    assert exact.share_found(question, "10%", 2_000, [*found[:9], ids[farthest]]) == 0.9
    other = replace(question, text="of another scope", memory=(question.memory + 1) % 2_000)
    assert exact.share_found(other, "10%", 2_000, found) < 1.0
