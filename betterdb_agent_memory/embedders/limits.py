"""How an embedder may be called: how much at once, how long, how often."""

from __future__ import annotations

from dataclasses import dataclass

from betterdb_agent_memory.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How an embedder is called when many tasks want vectors at once; see `CoalescingEmbedder`.

    `max_concurrency` calls are in flight at most; one carries at most `max_batch` texts and
    `max_batch_bytes` of them in UTF-8 (a longer text goes alone). `max_waiting` different texts wait
    at most. A call is given up after `timeout_seconds` (None: never), and what may pass is tried
    `attempts` times in all, with pauses at random up to 0.5 s, 1 s, 2 s and so on, none longer than
    `longest_pause_seconds`. So an answer or an error is there after
    `attempts * (timeout_seconds + longest_pause_seconds)` at the latest, once the text need not wait.

    Raises `ConfigurationError` for a limit that would let nothing through.

    >>> CallLimits(max_batch=16).timeout_seconds
    30.0
    """

    max_concurrency: int = 4
    max_batch: int = 128
    max_batch_bytes: int = 262_144
    max_waiting: int = 10_000
    timeout_seconds: float | None = 30.0
    attempts: int = 3
    longest_pause_seconds: float = 8.0

    def __post_init__(self) -> None:
        for name in ("max_concurrency", "max_batch", "max_batch_bytes", "max_waiting", "attempts"):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ConfigurationError(f"{name} is a whole number above 0, got {count!r}")
        if self.timeout_seconds is not None:
            _refuse_bad_seconds("timeout_seconds", self.timeout_seconds, least=0.001)
        _refuse_bad_seconds("longest_pause_seconds", self.longest_pause_seconds, least=0)


def _refuse_bad_seconds(name: str, seconds: object, *, least: float) -> None:
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not least <= seconds < float("inf"):  # type: ignore[operator]
        raise ConfigurationError(f"{name} is a number of seconds from {least}, got {seconds!r}")
