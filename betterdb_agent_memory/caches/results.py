"""What callers give to the caches and get back from them: options, answers, results and statistics.

Published names keep their fields, defaults and order; what is ours stands behind them and has a default.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, SupportsIndex, TypeAlias, TypeVar

from betterdb_agent_memory.caches.content import ContentBlock
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.options import MAX_TTL_SECONDS, finite_number

Origin: TypeAlias = Literal["cache", "stale", "call", "shared"]
"""Where an answer came from: an entry, an entry whose time is up, one's own call, another one's call."""

Recommendation: TypeAlias = Literal["increase_ttl", "optimal", "decrease_ttl_or_disable"]
"""What the hit rate of a tool says about its time to live."""


def checked_ttl(name: str, ttl_seconds: object) -> int | None:
    """`ttl_seconds` as a whole number from 1, None for "not said"; anything else is an error that says `name`.

    Published: 0 and less reach the server, which refuses them after everything else was done.
    """
    if ttl_seconds is None:
        return None
    whole = _whole(ttl_seconds)
    if whole is None or not 1 <= whole <= MAX_TTL_SECONDS:
        raise InvalidInputError(
            f"{name} must be whole seconds from 1 to {MAX_TTL_SECONDS}, got {ttl_seconds!r:.80}; leave it out for the "
            "default, and set no default for entries that never expire"
        )
    return whole


@dataclass(frozen=True, slots=True)
class LlmStoreOptions:
    """How to store an answer of a model.

    `ttl` is in seconds from 1, None for the cache's default. `tokens` counts what was read and written,
    `{"input": n, "output": n}`; where one is missing, it counts as 0. The price follows from them.

    Raises:
        InvalidInputError: the TTL or a count cannot be stored; the field is named.
    """

    ttl: int | None = None
    tokens: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ttl", checked_ttl("ttl", self.ttl))
        object.__setattr__(self, "tokens", _checked_tokens(self.tokens))


@dataclass(frozen=True, slots=True)
class ToolStoreOptions:
    """How to store a result of a tool: `ttl` in seconds from 1, `cost` in dollars of the call it saves.

    Raises:
        InvalidInputError: one of them cannot be stored; the field is named.
    """

    ttl: int | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ttl", checked_ttl("ttl", self.ttl))
        if self.cost is not None:
            try:
                cost = finite_number("cost", self.cost)
            except ConfigurationError as error:
                raise InvalidInputError(str(error)) from None
            if cost < 0:
                raise InvalidInputError(f"cost must not be negative, got {self.cost!r}")


_OptionsT = TypeVar("_OptionsT", LlmStoreOptions, ToolStoreOptions)


def checked_options(options: object, kind: type[_OptionsT]) -> _OptionsT:
    """Options as given, made of a mapping with the fields of `kind`, or the default ones for None."""
    if options is None:
        return kind()
    if isinstance(options, kind):
        return options
    names = [field.name for field in fields(kind)]
    if not isinstance(options, Mapping) or not options.keys() <= set(names):
        raise InvalidInputError(f"options have {' and '.join(names)}, see {kind.__name__}; got {options!r:.80}")
    return kind(**options)


@dataclass(frozen=True, slots=True)
class LlmAnswer:
    """What the call behind `get_or_call` may return when it has more to say than a text.

    Either `response`, a text, or `content_blocks`. `tokens` and `ttl` are those of `LlmStoreOptions`;
    with `store` false the answer is handed out and not kept, for one that was cut short, for example.

    Raises:
        InvalidInputError: neither or both are given, or one of the fields cannot be stored; it is named.
    """

    response: str | None = None
    content_blocks: Sequence[ContentBlock] | None = None
    tokens: Mapping[str, int] | None = None
    ttl: int | None = None
    store: bool = True

    def __post_init__(self) -> None:
        if (self.response is None) == (self.content_blocks is None):
            raise InvalidInputError("an LlmAnswer has either a response or content_blocks")
        if self.response is not None and not isinstance(self.response, str):
            raise InvalidInputError(f"response must be a text, got {self.response!r:.80}; blocks go to content_blocks")
        if self.content_blocks is not None:
            checked_blocks(self.content_blocks)
        options = LlmStoreOptions(ttl=self.ttl, tokens=self.tokens)
        object.__setattr__(self, "ttl", options.ttl)
        object.__setattr__(self, "tokens", options.tokens)


@dataclass(frozen=True, slots=True)
class LlmCacheResult:
    """What the LLM cache says about a request.

    `hit` says that no call of one's own was needed. `response` is the text, `content_blocks` is None for
    an answer that was stored as one text. `origin` says where the answer came from, None for a miss;
    `age_seconds` how long ago it was stored, None where that is not known.
    """

    hit: bool
    tier: str = "llm"
    response: str | None = None
    content_blocks: list[ContentBlock] | None = None
    key: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    origin: Origin | None = None
    age_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCacheResult:
    """What the tool cache says about a call: `response` is the text that was stored, None for a miss."""

    hit: bool
    tool_name: str = ""
    tier: str = "tool"
    response: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class TierStats:
    """Hits and misses of a tier, of all workers since the statistics began."""

    hits: int
    misses: int

    @property
    def total(self) -> int:
        """How often the tier was asked."""
        return self.hits + self.misses

    @property
    def hit_rate(self) -> float:
        """The part of the questions that were hits, 0 to 1; 0 when there were none."""
        return self.hits / self.total if self.total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class SessionStats:
    """How often session fields were read one by one, and written."""

    reads: int
    writes: int


@dataclass(frozen=True, slots=True)
class ToolStats:
    """Hits and misses of one tool, the TTL of its policy, and what its hits saved in millionths of a dollar."""

    hits: int
    misses: int
    ttl: int | None
    cost_saved_micros: int

    @property
    def hit_rate(self) -> float:
        """The part of the questions that were hits, 0 to 1; 0 when there were none."""
        total = self.hits + self.misses
        return self.hits / total if total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class AgentCacheStats:
    """What all workers of one name did so far; `cost_saved_micros` is in millionths of a dollar."""

    llm: TierStats
    tool: TierStats
    session: SessionStats
    cost_saved_micros: int
    per_tool: dict[str, ToolStats]


@dataclass(frozen=True, slots=True)
class ToolEffectivenessEntry:
    """How well caching one tool pays: hit rate from 0 to 1, dollars saved, and what to do about its TTL."""

    tool: str
    hit_rate: float
    cost_saved: float
    recommendation: Recommendation


def checked_blocks(blocks: object) -> Sequence[ContentBlock]:
    """`blocks` if they are a list of mappings that say their type; a text block has its text."""
    if isinstance(blocks, Sequence) and not isinstance(blocks, str | bytes) and all(map(_is_block, blocks)):
        return blocks
    raise InvalidInputError(
        f'blocks must be a list of content blocks such as {{"type": "text", "text": "..."}}, got {blocks!r:.80}'
    )


def _is_block(block: object) -> bool:
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
        return False
    return block["type"] != "text" or isinstance(block.get("text"), str)


def _checked_tokens(tokens: object) -> dict[str, int] | None:
    if tokens is None or tokens == {}:
        return None
    if not isinstance(tokens, Mapping) or not tokens.keys() & {"input", "output"}:
        raise InvalidInputError(
            f'tokens must count what was read and written, {{"input": n, "output": n}}, got {tokens!r:.80}'
        )
    return {str(name): _checked_count(str(name), count) for name, count in tokens.items()}


def _checked_count(name: str, count: object) -> int:
    whole = _whole(int(count) if isinstance(count, float) and count.is_integer() else count)
    if whole is None or whole < 0:
        raise InvalidInputError(f"tokens[{name!r}] must be a whole number of at least 0, got {count!r:.80}")
    return whole


def _whole(value: object) -> int | None:
    """`value` as an int if it is a whole number of Python or numpy; a boolean is none."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return operator.index(value)
    return None
