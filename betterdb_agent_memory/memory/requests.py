"""What is asked of a store, validated before anything is paid for or sent."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from betterdb_agent_memory.engines.filters import AllOf, Filter
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.live_config import MemoryConfigSnapshot
from betterdb_agent_memory.memory.conditions import checked_where
from betterdb_agent_memory.memory.correction.lineage import valid_at
from betterdb_agent_memory.memory.kinds import MemoryKind
from betterdb_agent_memory.memory.recalling.cues import checked_context
from betterdb_agent_memory.memory.recalling.question import Reach
from betterdb_agent_memory.memory.recalling.ranking import RankingRules
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope, checked_tags, optional_text, scope_filter
from betterdb_agent_memory.memory.scoring.choice import (
    ScoringChoice,
    ScoringParameters,
    checked_scoring,
    model_for,
    reads_cues,
)
from betterdb_agent_memory.memory.times import MAX_TIME_MS, checked_time_ms
from betterdb_agent_memory.memory.where import Where, of_kind
from betterdb_agent_memory.options import MAX_THRESHOLD, RETRIEVALS, HybridOptions, RecallWeights, Retrieval, is_number

DEFAULT_K = 8
MAX_K = 2_500
OVERFETCH = 4
MIN_CANDIDATES = 32
"""What the default k asks for, as published: workers in other languages find the same."""
MAX_CANDIDATES = 4_096
"""What every search engine returns in one answer."""
DEFAULT_LIST_LIMIT = 20
MAX_LIST_LIMIT = 10_000
MAX_LIST_OFFSET = 980_000
"""Search engines page through a million rows at most; limit and offset stay below that together."""


@dataclass(frozen=True, slots=True)
class MemoryListOptions:
    """A page of memories: exactly this scope, all these tags, of this `kind` or one of these, meeting `where`, newest
    first.

    `limit` 20 by default and at most 10,000 (0 asks for the total alone), `offset` 0.
    """

    thread_id: str | None = None
    agent_id: str | None = None
    namespace: str | None = None
    tags: Sequence[str] | None = None
    limit: int | None = None
    offset: int | None = None
    subject: str | None = None
    where: Where | None = None
    kind: MemoryKind | Sequence[MemoryKind] | None = None


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A validated page."""

    filter: Filter
    limit: int
    offset: int

    @classmethod
    def validated(cls, options: MemoryListOptions) -> ListRequest:
        """Check everything that could be wrong with a page."""
        if not isinstance(options, MemoryListOptions):
            raise InvalidInputError(f"list takes MemoryListOptions(...), got {type(options).__name__}: {options!r:.80}")
        return cls(
            filter=exact_filter(
                None,
                options.thread_id,
                options.agent_id,
                options.namespace,
                options.tags,
                options.subject,
                options.where,
                options.kind,
            ),
            limit=checked_integer("limit", options.limit, DEFAULT_LIST_LIMIT, 0, MAX_LIST_LIMIT),
            offset=checked_integer("offset", options.offset, 0, 0, MAX_LIST_OFFSET),
        )


@dataclass(frozen=True, slots=True)
class RecallRequest:
    """A validated question: the exact scope, how many, and what overrides the live configuration (None: nothing)."""

    filter: Filter
    k: int
    threshold: float | None
    weights: RecallWeights | None
    reinforce: bool
    now_ms: int | None
    retrieval: Retrieval | None = None
    exact: bool | None = None
    diversity: float | None = None
    rerank: bool = True
    scoring: ScoringChoice | None = None
    expand: bool = False
    with_superseded: bool = False
    min_confidence: float | None = None
    context: tuple[str, ...] = ()

    @classmethod
    def validated(
        cls,
        filter: Filter,
        k: object,
        threshold: object,
        weights: object,
        reinforce: object,
        now_ms: object,
        retrieval: object = None,
        exact: object = None,
        diversity: object = None,
        rerank: object = None,
        scoring: object = None,
        expand: object = False,
        as_of: object = None,
        include_superseded: object = False,
        min_confidence: object = None,
        context: object = None,
    ) -> RecallRequest:
        """Check everything that could be wrong with a question, apart from its text or vector."""
        if weights is not None and not isinstance(weights, RecallWeights):
            raise InvalidInputError(f"weights must be RecallWeights(similarity, recency, importance), got {weights!r}")
        if threshold is not None and not (is_number(threshold) and 0 <= threshold <= MAX_THRESHOLD):
            raise InvalidInputError(f"threshold is a cosine distance from 0 to 2, got {threshold!r}")
        if diversity is not None and not (is_number(diversity) and 0 <= diversity <= 1):
            raise InvalidInputError(f"diversity is a number from 0 to 1 (1: by score alone), got {diversity!r:.80}")
        if min_confidence is not None and not (is_number(min_confidence) and 0 <= min_confidence <= 1):
            raise InvalidInputError(f"min_confidence is a number from 0 to 1, got {min_confidence!r:.80}")
        if not isinstance(include_superseded, bool):
            raise InvalidInputError(f"include_superseded must be true or false, got {include_superseded!r:.80}")
        if as_of is not None:
            filter = valid_at(filter, checked_time_ms("as_of", as_of))
        elif include_superseded:
            # Accepts everything, and tells its scope from the one of memories alone, whose size is another.
            filter = Filter((*filter.clauses, AllOf(())))
        return cls(
            filter=filter,
            k=checked_integer("k", k, DEFAULT_K, 1, MAX_K),
            threshold=None if threshold is None else float(threshold),
            weights=weights,
            reinforce=_flag("reinforce", reinforce),
            now_ms=None if now_ms is None else checked_integer("now", now_ms, 0, 0, MAX_TIME_MS),
            retrieval=_retrieval(retrieval),
            exact=None if exact is None else _flag("exact", exact),
            diversity=None if diversity is None else float(diversity),
            rerank=_flag("rerank", rerank),
            scoring=None if scoring is None else checked_scoring(scoring),
            expand=expand is not None and _flag("expand", expand),
            with_superseded=include_superseded or as_of is not None,
            min_confidence=None if min_confidence is None else float(min_confidence),
            context=checked_context(context),
        )

    def check_context(self, config: MemoryConfigSnapshot, own_scoring: ScoringChoice) -> None:
        """Refuse cues that nobody reads.

        Where the store's own model reads them, and live configuration says another one, they are left aside: what an
        operator sets makes no call fail.

        Raises:
            InvalidInputError: neither the model in force nor the store's own reads a context.
        """
        if not self.context:
            return
        choices = (config.scoring or own_scoring, own_scoring) if self.scoring is None else (self.scoring,)
        if not any(map(reads_cues, choices)):
            name = choices[0] if isinstance(choices[0], str) else choices[0].name
            raise InvalidInputError(
                f"context= is read by scoring 'activation', or by a model whose `needs` name 'cues'; this recall is "
                f'scored by {name!r:.80}: pass scoring="activation", or leave context out'
            )

    def in_force(
        self, config: MemoryConfigSnapshot, own_scoring: ScoringChoice, parameters: ScoringParameters, *, clock_ms: int
    ) -> RecallSettings:
        """What an argument of the call says, else the live configuration, which may leave scoring to the store's own;
        a model that is named has the store's `parameters`. `clock_ms` is the time of the clock.
        """
        threshold = config.threshold if self.threshold is None else self.threshold
        retrieval = self.retrieval or config.retrieval
        hybrid = config.hybrid if retrieval == "hybrid" else None
        nearest = min(max(OVERFETCH * self.k, MIN_CANDIDATES), MAX_CANDIDATES)
        if hybrid is not None:
            nearest = max(nearest, hybrid.candidates)
        exact = config.exact if self.exact is None else self.exact
        model = model_for(self.scoring or config.scoring or own_scoring, self.weights, parameters)
        return RecallSettings(
            rules=RankingRules(
                threshold=threshold,
                weights=self.weights or config.weights,
                half_life_seconds=config.half_life_seconds,
                clamps_age=self.now_ms is not None,
                model=model,
                min_confidence=self.min_confidence,
            ),
            reach=Reach(
                nearest=nearest,
                holding=0 if hybrid is None or not hybrid.words_weight else max(hybrid.word_candidates, self.k),
                needed=self.k,
                threshold=threshold,
                word_matches=1 if hybrid is None else hybrid.word_matches,
                exhaustive=exact,
            ),
            hybrid=hybrid,
            exact=exact,
            diversity=_below_1(config.diversity if self.diversity is None else self.diversity),
            now_ms=clock_ms if self.now_ms is None else self.now_ms,
            parameters=parameters,
            context=self.context if model is not None and "cues" in model.needs else (),
        )


@dataclass(frozen=True, slots=True)
class RecallSettings:
    """What one recall goes by: how it ranks, how far it looks, and what is done with what it found.

    `hybrid` is None in vector retrieval, `diversity` None where the best are taken as they come. `parameters` are the
    store's, and so the same for all of its recalls. `context` are cues, none where the model reads none.
    """

    rules: RankingRules
    reach: Reach
    hybrid: HybridOptions | None
    exact: bool
    diversity: float | None
    now_ms: int
    parameters: ScoringParameters = field(compare=False)
    context: tuple[str, ...] = ()


def exact_filter(
    scope: MemoryScope | None,
    thread_id: str | None,
    agent_id: str | None,
    namespace: str | None,
    tags: Sequence[str] | None,
    subject: str | None = None,
    where: Where | None = None,
    kind: MemoryKind | Sequence[MemoryKind] | None = None,
) -> Filter:
    """The filter of a scope said in any of the ways it can be said, and of conditions, validated."""
    wanted = checked_scope(scope, thread_id, agent_id, namespace)
    if tags is None and subject is None and where is None and kind is None:
        return _filter_of_names(wanted.thread_id, wanted.agent_id, wanted.namespace)
    return scope_filter(
        wanted,
        checked_tags(tags),
        optional_text("subject", subject),
        checked_where(where),
        None if kind is None else of_kind(kind).clause,
    )


@lru_cache(maxsize=4096)
def _filter_of_names(thread_id: str | None, agent_id: str | None, namespace: str | None) -> Filter:
    """Kept, since nearly every question is about one of a few scopes."""
    return scope_filter(MemoryScope(thread_id, agent_id, namespace))


def _below_1(diversity: float | None) -> float | None:
    """1 is the score alone, which needs no vectors."""
    return None if diversity == 1 else diversity


def _retrieval(value: object) -> Retrieval | None:
    for known in (None, *RETRIEVALS):
        if value == known:
            return known
    raise InvalidInputError(f"retrieval must be {' or '.join(map(repr, RETRIEVALS))}, got {value!r:.80}")


def _flag(name: str, value: object) -> bool:
    """None and true mean yes, as published."""
    if value is None:
        return True
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise InvalidInputError(f"{name} must be true or false, got {value!r:.80}")


def checked_fresh(fresh: object) -> bool:
    """Whether a recall has to ask the engine, whatever this process knows."""
    return fresh is not None and _flag("fresh", fresh)


def checked_integer(name: str, value: object, default: int, low: int, high: int) -> int:
    """A whole number from `low` to `high`; None means `default`."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        hint = f"; pass {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise InvalidInputError(f"{name} must be a whole number, got {value!r:.80}{hint}")
    whole = int(value)
    if not low <= whole <= high:
        raise InvalidInputError(f"{name} must be from {low} to {high:,}, got {value!r:.80}")
    return whole
