"""A simulated life: one draw from the model of `model.py`, day by day."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.events import DAY_MS, START_MS, Ask, Cue, Event, Night, Replacing, Say
from benchmarks.simulation.model import Model, odds_of_need
from benchmarks.simulation.wording import CLASSES, CORRECTIONS, PLACES, REMARKS, WEEKDAYS, Attribute, EntityClass

T = TypeVar("T")

_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000
_MIDDLE = 0.5
_IMPORTANCE_SPREAD = 0.12
_DRIVE_SHARE, _NOISE_SHARE = 0.5, 0.87
"""How importance follows the log odds of need: mostly it does not."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a statement says of a fact."""

    fact: int
    value: str


@dataclass(frozen=True, slots=True)
class Life:
    """All that happens, and what only the judge knows.

    `claims` are by statement (remarks have none), `values` by fact: from when on (ms) which value was true.
    `ideal` is what somebody would answer who knows the model, its numbers and the truth, but not the dice, by question;
    `informed` the same of somebody who does not know how often each fact is needed, and learns it from what was needed.
    """

    model: Model
    seed: int
    events: Sequence[Event]
    claims: Mapping[str, Claim]
    values: Mapping[int, Sequence[tuple[int, str]]]
    ideal: Mapping[str, tuple[str, ...]]
    informed: Mapping[str, tuple[str, ...]]

    def is_right(self, statement: str, at_ms: int) -> bool | None:
        """Whether what the statement says is so at that time; None for a remark."""
        claim = self.claims.get(statement)
        if claim is None:
            return None
        return claim.value == [value for since, value in self.values[claim.fact] if since <= at_ms][-1]

    def said(self) -> Iterator[Say]:
        return (event for event in self.events if isinstance(event, Say))

    def asked(self) -> Iterator[Ask]:
        return (event for event in self.events if isinstance(event, Ask))


@dataclass(slots=True)
class _Fact:
    """One entity's value of one attribute, as the days go by."""

    number: int
    group: EntityClass
    entity: str
    attribute: Attribute
    log_odds: float
    companion: int = -1
    first_day: int = -1
    last_day: int = -1
    statements: list[str] = field(default_factory=list)

    def probability(self, day: int, exponent: float) -> float:
        odds = odds_of_need(self.log_odds, max(day - self.last_day, 1), exponent)
        return odds / (1 + odds)


@dataclass(frozen=True, slots=True)
class _Known:
    """The facts that something was said of, the chance of each to be needed on this day, and what it is expected to be
    from when it was needed so far.
    """

    facts: Sequence[_Fact]
    chances: Mapping[int, float]
    expected: Mapping[int, float]


class _Learner:
    """What is known of the log odds of each fact from its needs, and from the importance that its statements have: a
    distribution over a grid, by Bayes' rule. What facts of one entity have in common it does not use.
    """

    def __init__(self, model: Model, facts: int) -> None:
        self._model = model
        spread = math.hypot(model.spread_of_facts, model.spread_of_entities)
        deviations = np.linspace(-4, 4, 41)
        self._log_odds = model.log_odds + spread * deviations
        self._weights = np.tile(np.exp(-(deviations**2) / 2), (facts, 1))

    def told(self, fact: int, importance: float) -> None:
        """A statement of the fact has this importance."""
        drive = (self._log_odds - self._model.log_odds) / self._model.spread_of_facts
        off = (importance - _MIDDLE - _IMPORTANCE_SPREAD * _DRIVE_SHARE * drive) / (_IMPORTANCE_SPREAD * _NOISE_SHARE)
        self._weights[fact] *= np.exp(-(off**2) / 2)

    def expected(self, fact: int, days: int) -> float:
        """How likely the fact is needed, so many days after the last time."""
        weights = self._weights[fact]
        return float(weights @ self._chances(days) / weights.sum())

    def saw(self, fact: int, days: int, was_needed: bool) -> None:
        """The fact was needed then, or not."""
        chances = self._chances(days)
        weights = self._weights[fact] * (chances if was_needed else 1 - chances)
        self._weights[fact] = weights / weights.sum()

    def _chances(self, days: int) -> NDArray[np.float64]:
        odds = np.exp(self._log_odds - self._model.exponent * math.log(days))
        chances: NDArray[np.float64] = odds / (1 + odds)
        return chances


def live(seed: int, model: Model | None = None) -> Life:
    """The life of this seed."""
    return _Living(Model() if model is None else model, seed).life()


class _Living:
    def __init__(self, model: Model, seed: int) -> None:
        self._model = model
        self._seed = seed
        self._random = np.random.default_rng((20261122, seed))
        self._facts = self._all_facts()
        self._right = {
            kind: float(self._random.beta(mean * model.certainty, (1 - mean) * model.certainty))
            for kind, mean in model.reliability.items()
        }
        self._events: list[Event] = []
        self._claims: dict[str, Claim] = {}
        self._values: dict[int, list[tuple[int, str]]] = {}
        self._texts: set[str] = set()
        self._ideal: dict[str, tuple[str, ...]] = {}
        self._informed: dict[str, tuple[str, ...]] = {}
        self._learner = _Learner(self._model, len(self._facts))
        self._noticed: dict[int, list[str]] = {}
        self._questions = 0

    def life(self) -> Life:
        for day in range(self._model.days):
            self._morning(day)
            self._afternoon(day)
            self._events.append(Night(START_MS + (day + 1) * DAY_MS - 1, day + 1))
        return Life(self._model, self._seed, self._events, self._claims, self._values, self._ideal, self._informed)

    def _all_facts(self) -> list[_Fact]:
        model, random = self._model, self._random
        facts: list[_Fact] = []
        for group in CLASSES:
            for entity in group.entities:
                shared = random.normal(0, model.spread_of_entities)
                for attribute in group.attributes:
                    log_odds = model.log_odds + shared + random.normal(0, model.spread_of_facts)
                    fact = _Fact(len(facts), group, entity, attribute, float(log_odds))
                    if random.random() < model.share_spoken_of:
                        at_first = random.random() < model.share_at_first
                        fact.first_day = int(random.integers(model.first_days if at_first else model.days))
                    facts.append(fact)
        spoken_of = [fact for fact in facts if fact.first_day >= 0]
        for fact in spoken_of:
            # One half of the companions are of the same entity.
            near = [other for other in spoken_of if other.entity == fact.entity and other is not fact]
            among = near if near and random.random() < 1 / 2 else spoken_of
            fact.companion = among[int(random.integers(len(among)))].number
        return facts

    # What is said.

    def _morning(self, day: int) -> None:
        """Everything that is said on this day, between eight and noon."""
        remarks = int(self._random.poisson(self._model.remarks_a_day))
        said = [*self._news(day), *[(None, "")] * remarks]
        times = np.sort(self._random.uniform(8, 12, len(said)))
        for hour, place in zip(times, self._random.permutation(len(said)), strict=True):
            at_ms = self._at(day, float(hour))
            fact, what = said[int(place)]
            if fact is None:
                self._remark(at_ms)
            elif what == "begins":
                self._begins(fact, at_ms, day)
            elif what == "changes":
                self._changes(fact, at_ms, day)
            elif what == "rumour":
                self._rumour(fact, at_ms, day)
            else:
                self._put_right(fact, what, at_ms, day)

    def _news(self, day: int) -> Iterator[tuple[_Fact | None, str]]:
        model, random = self._model, self._random
        for fact in self._facts:
            if fact.first_day == day:
                yield fact, "begins"
            elif 0 <= fact.first_day < day:
                if random.random() < model.changes_a_year[fact.attribute.kind] / 365:
                    yield fact, "changes"
                elif random.random() < model.rumours_a_year / 365:
                    yield fact, "rumour"
        for statement in self._noticed.pop(day, ()):
            yield self._facts[self._claims[statement].fact], statement

    def _begins(self, fact: _Fact, at_ms: int, day: int) -> None:
        value = self._one_of(fact.attribute.values)
        self._values[fact.number] = [(START_MS, value)]
        self._state(fact, value, at_ms, day, "nothing")

    def _changes(self, fact: _Fact, at_ms: int, day: int) -> None:
        value = self._another_value(fact)
        self._values[fact.number].append((at_ms, value))
        self._state(fact, value, at_ms, day, self._drawn(self._model.replacing))

    def _rumour(self, fact: _Fact, at_ms: int, day: int) -> None:
        # An explicit correction is made by somebody who knows; a rumour contradicts at most.
        how: Replacing = "contradict" if self._random.random() < 0.3 else "state"
        self._say(fact, self._another_value(fact), at_ms, day, how)

    def _put_right(self, fact: _Fact, wrong: str, at_ms: int, day: int) -> None:
        # Somebody may have said something else about it meanwhile.
        if fact.statements[-1] == wrong:
            self._say(fact, self._value(fact), at_ms, day, self._drawn(self._model.replacing))

    def _state(self, fact: _Fact, value: str, at_ms: int, day: int, how: Replacing) -> None:
        """Somebody says that the value is this, and may be wrong."""
        is_right = self._random.random() < self._right[fact.attribute.kind]
        self._say(fact, value if is_right else self._another_value(fact), at_ms, day, how)

    def _say(self, fact: _Fact, value: str, at_ms: int, day: int, how: Replacing) -> None:
        text = self._one_of(fact.attribute.told).format(e=fact.entity, v=value)
        if how != "nothing":
            text = self._one_of(CORRECTIONS[how]).format(text=text)
        replaces = fact.statements[-1] if how in {"correct", "contradict"} else None
        id = f"s{len(self._claims)}"
        self._claims[id] = Claim(fact.number, value)
        importance = self._importance(_MIDDLE, (fact.log_odds - self._model.log_odds) / self._model.spread_of_facts)
        self._events.append(Say(at_ms, id, text, fact.attribute.kind, importance, (fact.entity,), how, replaces))
        fact.statements.append(id)
        self._learner.told(fact.number, importance)
        fact.last_day = max(fact.last_day, day)
        if value != self._value(fact) and self._random.random() < self._model.share_noticed:
            later = day + 1 + int(self._random.exponential(self._model.days_until_noticed))
            self._noticed.setdefault(later, []).append(id)

    def _remark(self, at_ms: int) -> None:
        random = self._random
        while True:
            group = self._one_of(CLASSES)
            entity, other = (group.entities[place] for place in random.permutation(len(group.entities))[:2])
            text = self._one_of(REMARKS).format(
                e=entity,
                other=other,
                a=self._one_of(group.attributes).name,
                place=self._one_of(PLACES),
                weekday=self._one_of(WEEKDAYS),
                minutes=int(random.integers(2, 40)),
                hour=int(random.integers(8, 18)),
            )
            if text not in self._texts:
                break
        self._texts.add(text)
        self._events.append(Say(at_ms, f"r{len(self._texts)}", text, "episodic", self._importance(0.4, 0.0), (entity,)))

    def _importance(self, middle: float, drive: float) -> float:
        noise = self._random.normal()
        off = _IMPORTANCE_SPREAD * (_DRIVE_SHARE * drive + _NOISE_SHARE * noise)
        return round(float(np.clip(middle + off, 0, 1)), 2)

    # What is asked.

    def _afternoon(self, day: int) -> None:
        """The questions of this day, between noon and eight in the evening."""
        model, random = self._model, self._random
        known = [fact for fact in self._facts if fact.statements]
        since = {fact.number: max(day - fact.last_day, 1) for fact in known}
        chances = {fact.number: fact.probability(day, model.exponent) for fact in known}
        expected = {fact.number: self._learner.expected(fact.number, since[fact.number]) for fact in known}
        asked: dict[tuple[Cue, str, str], list[_Fact]] = {}
        for fact in known:
            is_needed = random.random() < chances[fact.number]
            self._learner.saw(fact.number, since[fact.number], is_needed)
            if is_needed:
                cue = self._drawn(model.cues)
                entity = "" if cue == "attribute" else fact.entity
                attribute = "" if cue == "entity" else fact.attribute.name
                asked.setdefault((cue, entity, attribute), []).append(fact)
        hours = np.sort(random.uniform(12, 20, len(asked)))
        shuffled = random.permutation(len(asked))
        groups = list(asked.items())
        for hour, place in zip(hours, shuffled, strict=True):
            (cue, _, _), facts = groups[int(place)]
            for fact in self._ask(self._at(day, float(hour)), cue, facts, _Known(known, chances, expected)):
                fact.last_day = day

    def _ask(self, at_ms: int, cue: Cue, facts: Sequence[_Fact], known: _Known) -> Iterable[_Fact]:
        """One question, perhaps with another in full behind it; what is needed for it."""
        model, random = self._model, self._random
        needed = {fact.number: fact for fact in facts}
        for fact in facts:
            companion = self._facts[fact.companion]
            if companion.statements and random.random() < model.share_with_companion:
                needed.setdefault(companion.number, companion)
        first = facts[0]
        context: tuple[str, ...] = ()
        if cue != "both" and len(facts) == 1 and random.random() < model.share_with_context:
            context = (first.entity if cue == "attribute" else first.attribute.name,)
        meant = [first] if cue == "both" or context else [fact for fact in known.facts if _answers(fact, cue, first)]
        self._question(at_ms, self._words(cue, first), cue, context, needed.values(), meant, known)
        if cue != "both" and random.random() < model.share_asked_again_in_full:
            in_full = self._words("both", first)
            self._question(self._after(at_ms + 2 * _MINUTE_MS), in_full, "both", (), [first], [first], known)
        return needed.values()

    def _question(
        self,
        at_ms: int,
        words: str,
        cue: Cue,
        context: tuple[str, ...],
        needed: Iterable[_Fact],
        meant: Sequence[_Fact],
        known: _Known,
    ) -> None:
        random = self._random
        statements = tuple(statement for fact in needed if (statement := self._right_statement(fact)) is not None)
        id = f"q{self._questions}"
        self._questions += 1
        feedback = bool(random.random() < self._model.share_with_feedback)
        honest = bool(random.random() < self._model.share_honest)
        self._events.append(Ask(at_ms, id, words, cue, context, statements, feedback, honest))
        self._ideal[id] = self._by_odds(meant, known.chances)
        self._informed[id] = self._by_odds(meant, known.expected)

    def _by_odds(self, meant: Sequence[_Fact], chances: Mapping[int, float]) -> tuple[str, ...]:
        """Statements by how likely they are needed, given what the question can mean."""
        worth = {fact.number: chances[fact.number] for fact in meant}
        for fact in meant:
            companion = self._facts[fact.companion]
            if companion.statements:
                along = self._model.share_with_companion * chances[fact.number]
                worth[companion.number] = worth.get(companion.number, 0.0) + along
        best = sorted(worth, key=lambda number: -worth[number])
        found = (self._right_statement(self._facts[number]) for number in best)
        return tuple(statement for statement in found if statement is not None)

    def _words(self, cue: Cue, fact: _Fact) -> str:
        if cue == "entity":
            return self._one_of(fact.group.asked).format(e=fact.entity)
        templates = fact.attribute.asked if cue == "both" else fact.attribute.asked_of_anybody
        return self._one_of(templates).format(e=fact.entity)

    def _right_statement(self, fact: _Fact) -> str | None:
        """The latest statement that says what is so; None if nobody has said it."""
        value = self._value(fact)
        return next((id for id in reversed(fact.statements) if self._claims[id].value == value), None)

    # Dice.

    def _value(self, fact: _Fact) -> str:
        return self._values[fact.number][-1][1]

    def _another_value(self, fact: _Fact) -> str:
        return self._one_of([value for value in fact.attribute.values if value != self._value(fact)])

    def _one_of(self, things: Sequence[T]) -> T:
        return things[int(self._random.integers(len(things)))]

    def _drawn(self, shares: Mapping[T, float]) -> T:
        things = list(shares)
        return things[int(self._random.choice(len(things), p=list(shares.values())))]

    def _at(self, day: int, hour: float) -> int:
        return self._after(START_MS + day * DAY_MS + int(hour * _HOUR_MS))

    def _after(self, at_ms: int) -> int:
        """That time, or a millisecond after the latest event."""
        return max(at_ms, self._events[-1].at_ms + 1) if self._events else at_ms


def _answers(fact: _Fact, cue: Cue, meant: _Fact) -> bool:
    """Whether the fact answers the question for `meant` that names only its entity or only its attribute."""
    if cue == "entity":
        return fact.entity == meant.entity
    return fact.group is meant.group and fact.attribute is meant.attribute
