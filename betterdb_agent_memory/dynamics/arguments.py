"""What dynamics are asked for, checked before anything is read or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from betterdb_agent_memory.dynamics.maintenance import Replay
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.leasing import LEASE_SECONDS
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.record import checked_id
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope
from betterdb_agent_memory.options import is_number

MAX_DAYS: Final = 36_500.0
MAINTENANCE_LEASE_SECONDS: Final = LEASE_SECONDS


def id_of(hit: MemoryHit | str) -> str:
    """Of a hit or of itself."""
    return hit.item.id if isinstance(hit, MemoryHit) else hit


def checked_hits(hits: object) -> list[MemoryHit | str]:
    """Hits and ids of memories."""
    if isinstance(hits, str | bytes) or not isinstance(hits, Sequence):
        raise InvalidInputError(f"hits must be a list of hits or ids, got {type(hits).__name__}: {hits!r:.80}")
    return [hit if isinstance(hit, MemoryHit) else checked_id(hit) for hit in hits]


def scope_of(options: Mapping[str, Any]) -> MemoryScope:
    """The scope that the options of a recall say."""
    said = {name: options.get(name) for name in ("scope", "thread_id", "agent_id", "namespace")}
    return checked_scope(**said)


def checked_share(name: str, value: object) -> float:
    """A number from 0 to 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise InvalidInputError(f"{name} must be a number from 0 to 1, got {value!r:.80}")
    return float(value)


def checked_strength(value: object) -> float:
    """A strength to compare with."""
    if not is_number(value) or not 0 <= value <= 1_000:
        raise InvalidInputError(f"a threshold of strength must be a number from 0 to 1,000, got {value!r:.80}")
    return float(value)


def checked_days(value: object) -> float:
    """How far to look ahead."""
    if not is_number(value) or not 0 <= value <= MAX_DAYS:
        raise InvalidInputError(f"days must be a number from 0 to {MAX_DAYS:,.0f}, got {value!r:.80}")
    return float(value)


def checked_replay(replay: object) -> Replay | None:
    """Which memories are gone through again; None for none."""
    if replay is None:
        return None
    if not isinstance(replay, Replay):
        raise InvalidInputError(f"replay must be Replay(importance=..., share=...), got {replay!r:.80}")
    return Replay(checked_share("Replay.importance", replay.importance), checked_share("Replay.share", replay.share))


def checked_archive(archive: object) -> bool:
    """Whether faded memories are put away and not deleted."""
    if not isinstance(archive, bool):
        raise InvalidInputError(f"archive must be true or false, got {archive!r:.80}")
    return archive


def check_conduct(dry_run: object, wait_seconds: object, lease_seconds: object, on_progress: object) -> None:
    """How long work goes on and who is told."""
    if not isinstance(dry_run, bool):
        raise InvalidInputError(f"dry_run must be true or false, got {dry_run!r:.80}")
    if not is_number(wait_seconds) or not 0 <= wait_seconds <= 86_400:
        raise InvalidInputError(f"wait_seconds is from 0 to 86,400, got {wait_seconds!r:.80}")
    if not is_number(lease_seconds) or not 1 <= lease_seconds <= 3_600:
        raise InvalidInputError(f"lease_seconds is from 1 to 3,600, got {lease_seconds!r:.80}")
    if on_progress is not None and not callable(on_progress):
        raise InvalidInputError(f"on_progress is called with a Progress, got {type(on_progress).__name__}")
