"""The simulated lives of `benchmarks.dynamics`: that they are what their model says, and are judged as it says."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulation.bounds import Embedded, Likeness, Ranked, ideal, informed
from benchmarks.simulation.bounds import Found as FoundBound
from benchmarks.simulation.driving import Hit, drive
from benchmarks.simulation.events import (
    DAY_MS,
    START_MS,
    Answers,
    Ask,
    Event,
    Found,
    Night,
    Say,
    answers_of,
    plain_answers,
    read_events,
    write_events,
)
from benchmarks.simulation.judging import calibration_bins, calibration_error, judge
from benchmarks.simulation.model import Model, odds_of_need
from benchmarks.simulation.ours import Ours, Way
from benchmarks.simulation.plots import plots
from benchmarks.simulation.results import first_share, from_plain, lived, plain, report
from benchmarks.simulation.world import Claim, Life, live
from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.chain import Chain

ROOT = Path(__file__).resolve().parent.parent
DAYS = 30
LIFE = live(7, Model(days=DAYS))


@pytest.fixture(scope="module")
def embedded() -> Embedded:
    return Embedded()


def said(id: str, hour: int, **more: object) -> Say:
    at_ms = START_MS + hour * 3_600_000
    return replace(Say(at_ms, id, f"text of {id}", "factual", 0.5, ()), **more)  # type: ignore[arg-type]


def asked(id: str, hour: int, *needed: str, **more: object) -> Ask:
    at_ms = START_MS + hour * 3_600_000
    return replace(Ask(at_ms, id, "which?", "both", (), needed, False, True), **more)  # type: ignore[arg-type]


# The life.


def test_a_seed_is_one_life_and_another_seed_another() -> None:
    model = Model(days=15)
    assert live(3, model) == live(3, model)
    assert live(3, model).events != live(4, model).events


def test_a_life_has_hundreds_of_distinct_texts_in_order_of_time() -> None:
    texts = [say.text for say in LIFE.said()]
    assert len(set(texts)) > 350
    assert len(set(texts)) / len(texts) > 0.97
    times = [event.at_ms for event in LIFE.events]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert [event.day for event in LIFE.events if isinstance(event, Night)] == list(range(1, DAYS + 1))


def test_what_is_needed_was_said_before_and_is_right_when_it_is_asked_for() -> None:
    known: set[str] = set()
    for event in LIFE.events:
        if isinstance(event, Say):
            assert event.replaces is None or event.replaces in known
            assert (event.replaces is not None) == (event.how in {"correct", "contradict"})
            known.add(event.id)
        elif isinstance(event, Ask):
            assert known.issuperset(event.needed)
            assert all(LIFE.is_right(statement, event.at_ms) for statement in event.needed)


def test_statements_of_facts_err_remarks_claim_nothing_and_changes_make_stale() -> None:
    end = LIFE.events[-1].at_ms
    at_once = [LIFE.is_right(say.id, say.at_ms) for say in LIFE.said() if say.id in LIFE.claims]
    assert 0.7 < sum(filter(None, at_once)) / len(at_once) < 0.95
    assert all(LIFE.is_right(say.id, end) is None for say in LIFE.said() if say.id.startswith("r"))
    stale = [say for say in LIFE.said() if LIFE.is_right(say.id, say.at_ms) and LIFE.is_right(say.id, end) is False]
    assert stale


@given(log_odds=st.floats(-6, 1), days=st.integers(1, 400), times=st.integers(2, 50))
def test_odds_of_need_fall_as_a_power_of_the_time_since(log_odds: float, days: int, times: int) -> None:
    fall = odds_of_need(log_odds, days * times, 0.75) / odds_of_need(log_odds, days, 0.75)
    assert fall == pytest.approx(times**-0.75)
    assert odds_of_need(log_odds + 1, days, 0.75) == pytest.approx(math.e * odds_of_need(log_odds, days, 0.75))


def test_needs_come_back_sooner_the_sooner_they_came_before() -> None:
    """What the model says of single facts shows in the life: the share needed falls with the days since."""
    life = live(1, Model(days=100, share_with_companion=0.0))
    due, needed = dict.fromkeys(range(1, 33), 0), dict.fromkeys(range(1, 33), 0)
    last: dict[int, int] = {}
    by_day: dict[int, set[int]] = {}
    for event in life.events:
        day = (event.at_ms - START_MS) // DAY_MS
        if isinstance(event, Say) and event.id in life.claims:
            last.setdefault(life.claims[event.id].fact, day)
        elif isinstance(event, Ask):
            by_day.setdefault(day, set()).update(life.claims[one].fact for one in event.needed)
        elif isinstance(event, Night):
            for fact, since in last.items():
                if 1 <= day - since <= 32:
                    due[day - since] += 1
                    needed[day - since] += fact in by_day.get(day, ())
            last |= dict.fromkeys(by_day.get(day, ()), day)
    share = {days: needed[days] / due[days] for days in due}
    assert share[1] > 2 * share[4] > 0
    early, late = sum(share[days] for days in range(2, 6)) / 4, sum(share[days] for days in range(16, 32)) / 16
    assert early > 2 * late


def test_a_question_without_the_entity_means_one_of_many() -> None:
    alone = [ask for ask in LIFE.asked() if ask.cue == "attribute" and not ask.context]
    assert sum(len(LIFE.ideal[ask.id]) for ask in alone) / len(alone) > 8
    names = {entity for say in LIFE.said() for entity in say.entities}
    assert not any(name in ask.question for ask in alone for name in names)


# What systems are told, and how they are judged.


class Listing:
    """A system that recalls the latest first, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.kept: list[str] = []

    def advance(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def remember(self, said: Say) -> str:
        self.kept.insert(0, said.id.upper())
        return self.kept[0]

    def replace(self, said: Say, old: str) -> str:
        self.told.append((said.how, old))
        return self.remember(said)

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        return [Hit(one, 0.9) for one in self.kept[:k]]

    def feedback(self, hits: Sequence[Hit], used: Sequence[str], value: float) -> None:
        self.told.append((tuple(used), value))

    def night(self, day: int) -> None:
        self.told.append(day)

    def size(self) -> tuple[int, int]:
        return len(self.kept), 0


def test_the_reaction_depends_on_the_answer_and_a_dishonest_one_is_the_opposite() -> None:
    react = {"feedback": True}
    system = Listing()
    answers = drive(
        system,
        [
            said("a", 1),
            said("b", 2),
            asked("helped", 3, "a", **react),
            asked("missed", 4, "x", **react),
            asked("teased", 5, "a", **react, honest=False),
            asked("silent", 6, "a"),
            Night(START_MS + DAY_MS - 1, 1),
        ],
    )
    assert system.told == [(("A",), 1.0), (("B",), -1.0), (("A",), -1.0), 1]
    assert answers.hits["silent"] == [Found("b", 0.9), Found("a", 0.9)]
    assert [(size.day, size.held, size.active) for size in answers.sizes] == [(1, 2, 0)]


def test_a_memory_that_is_rewritten_in_place_holds_the_later_statement() -> None:
    class Rewriting(Listing):
        def replace(self, said: Say, old: str) -> str:
            return old

    answers = drive(Rewriting(), [said("a", 1), said("b", 2, how="correct", replaces="a"), asked("q", 3, "b")])
    assert [hit.statement for hit in answers.hits["q"]] == ["b"]


def judged_life(*events: Say | Ask, values: dict[int, list[tuple[int, str]]], claims: dict[str, Claim]) -> Life:
    night = Night(START_MS + DAY_MS - 1, 1)
    return Life(Model(days=1), 0, [*events, night], claims, values, {}, {})


def test_figures_of_a_life_that_can_be_counted_by_hand() -> None:
    changed = START_MS + 2 * 3_600_000
    life = judged_life(
        said("old", 1),
        said("other", 1),
        said("new", 2, how="correct", replaces="old"),
        said("rumour", 3, how="contradict", replaces="new"),
        asked("q1", 4, "new"),
        asked("q2", 5, "new", "other", cue="entity"),
        asked("unsaid", 6),
        values={0: [(START_MS, "1"), (changed, "2")], 1: [(START_MS, "1")]},
        claims={"old": Claim(0, "1"), "new": Claim(0, "2"), "rumour": Claim(0, "3"), "other": Claim(1, "1")},
    )
    hits = {
        "q1": [Found("old", 0.95), Found("new", 0.95)],
        "q2": [Found("new", 0.55), Found("r0", 0.2)],
        "unsaid": [Found("rumour", 0.05)],
    }
    answers = drive(Listing(), life.events)
    figures = judge(life, Answers(hits, answers.sizes, 0, 0), 0, 1)
    assert figures.precision == (1 + 1 / 2) / 2
    assert figures.mrr == (1 / 2 + 1) / 2
    assert figures.by_cue == {"both": 1.0, "attribute": 0.0, "entity": 0.5}
    # old stands above new once; in q2 it is absent; the rumour stands above old, and replaced nothing that counts.
    assert (figures.corrections["correct"].cases, figures.corrections["correct"].share) == (2, 1 / 2)
    assert figures.corrections["contradict"].cases == 0
    # 0.05: wrong; 0.55: right; 0.95: one of two; the remark claims nothing.
    assert figures.calibration_error == pytest.approx((0.05 + 0.45 + 2 * 0.45) / 4)
    assert (figures.held, figures.active) == (4, 0)


def test_what_was_corrected_twice_is_below_its_latest_correction() -> None:
    life = judged_life(
        said("first", 1),
        said("second", 2, how="correct", replaces="first"),
        said("third", 3, how="correct", replaces="second"),
        asked("q", 4, "third"),
        values={0: [(START_MS, "3")]},
        claims={"first": Claim(0, "1"), "second": Claim(0, "2"), "third": Claim(0, "3")},
    )
    sizes = drive(Listing(), life.events).sizes
    above = judge(life, Answers({"q": [Found("third"), Found("first")]}, sizes, 0, 0), 0, 1)
    assert (above.corrections["correct"].cases, above.corrections["correct"].share) == (2, 1.0)
    below = judge(life, Answers({"q": [Found("first"), Found("third")]}, sizes, 0, 0), 0, 1)
    assert (below.corrections["correct"].cases, below.corrections["correct"].share) == (2, 0.5)


def test_days_without_a_question_are_no_figure() -> None:
    life = judged_life(said("a", 1), values={0: [(START_MS, "1")]}, claims={"a": Claim(0, "1")})
    with pytest.raises(ValueError, match="from day 0 to day 1"):
        judge(life, drive(Listing(), life.events), 0, 1)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_calibration_error_is_a_share_and_none_for_whoever_is_always_right(claims: list[tuple[float, bool]]) -> None:
    bins = calibration_bins(claims)
    assert sum(one.hits for one in bins) == len(claims)
    assert 0 <= calibration_error(bins) <= 1
    assert calibration_error(calibration_bins([(float(right), right) for _, right in claims])) == 0


def test_events_and_answers_survive_their_files(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", LIFE.events)
    assert read_events(tmp_path / "events.jsonl") == list(LIFE.events)
    answers = ideal(LIFE)
    assert answers_of(plain_answers(answers)) == answers


def test_a_peer_needs_nothing_of_ours_but_the_standard_library() -> None:
    code = (
        "import sys, benchmarks.peers.with_neuromemory; "
        "print({'numpy', 'betterdb_agent_memory'} & set(sys.modules), 'benchmarks.simulation.driving' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["set()", "True"]


# Systems.


def test_each_bound_is_above_what_it_bounds(embedded: Embedded) -> None:
    systems = {
        "ideal": ideal(LIFE),
        "informed": informed(LIFE),
        "informed, found": drive(FoundBound(embedded, LIFE), LIFE.events),
        "activation": drive(Ranked(embedded, Activation()), LIFE.events),
        "similarity": drive(Ranked(embedded, Likeness()), LIFE.events),
    }
    found = [lived(name, LIFE, answers) for name, answers in systems.items()]
    ideally, learnt, reachable, active, alike = (one.whole for one in found)
    assert ideally.precision >= learnt.precision > reachable.precision > active.precision > alike.precision
    assert active.mrr > alike.mrr
    assert active.calibration_error is not None
    assert active.calibration_error < 0.1
    assert active.corrections["contradict"].share > 0.98
    assert first_share(found, "correct") == 1
    assert from_plain(plain(found)) == found
    tables = report(found, DAYS)
    assert all(f"| {name} |" in tables["need"] for name in systems)


def test_whoever_learns_needs_comes_to_know_which_facts_are_needed_often() -> None:
    """Knowing each fact's odds is worth the more, the less is known of its needs."""
    asked = [ask for ask in LIFE.asked() if ask.needed]
    late = [ask for ask in asked if ask.at_ms > START_MS + (DAYS - 10) * DAY_MS]
    for ask in late:
        assert set(LIFE.informed[ask.id]) == set(LIFE.ideal[ask.id])
    assert any(LIFE.informed[ask.id] != LIFE.ideal[ask.id] for ask in late)


def test_the_plots_show_each_system(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = [lived(name, LIFE, ideal(LIFE)) for name in ("one system", "another system")]
    plots(found, tmp_path)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn.keys() == {"simulated-year-need.svg", "simulated-year-size.svg", "simulated-year-calibration.svg"}
    for name in ("simulated-year-need.svg", "simulated-year-size.svg"):
        assert all(one.system in drawn[name] for one in found)


def test_a_store_answers_what_the_models_over_arrays_say(embedded: Embedded, tmp_path: Path) -> None:
    """By likeness, without a ceiling: the same hits with the same confidence, whatever outcomes have taught."""
    life = live(2, Model(days=3))
    with Ours(tmp_path / "memory.db", Way("chain", retrieval="vector")) as ours:
        stored = drive(ours, life.events)
    computed = drive(Ranked(embedded, Chain()), life.events)
    pairs = [(stored.hits[ask.id], computed.hits[ask.id]) for ask in life.asked()]
    same = [[hit.statement for hit in one] == [hit.statement for hit in other] for one, other in pairs]
    # Vectors of a store have single precision: nearly equal scores may change places.
    assert sum(same) >= 0.97 * len(same) > 10
    for (one, other), is_same in zip(pairs, same, strict=True):
        if is_same:
            assert [hit.confidence for hit in one] == pytest.approx([hit.confidence for hit in other], abs=1e-6)
    figures = judge(life, stored, 0, 3)
    assert figures.precision > 0.5
    corrected = sum(say.how == "correct" for say in life.said())
    assert stored.sizes[-1].held == len(list(life.said())) - corrected


def test_what_is_forgotten_at_night_is_not_recalled_and_can_still_be_corrected(tmp_path: Path) -> None:
    first, other = said("first", 1), said("other", 2)
    nights = [Night(START_MS + day * DAY_MS - 1, day) for day in (1, 2)]
    later = 30
    events: list[Event] = [
        *(first, other, nights[0], asked("gone", later, "first")),
        said("right", later + 1, how="correct", replaces="first"),
        said("doubt", later + 2, how="contradict", replaces="other"),
        *(asked("known", later + 3, "right"), nights[1]),
    ]
    with Ours(tmp_path / "memory.db", Way("activation", forget_below=0.99)) as ours:
        answers = drive(ours, events)
    assert answers.hits["gone"] == []
    assert {hit.statement for hit in answers.hits["known"]} == {"right", "doubt"}
    assert answers.sizes[0].held == 0
