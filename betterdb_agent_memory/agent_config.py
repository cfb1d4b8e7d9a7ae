"""`agent.config`: what operators change while workers run, shown and written without knowing a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from betterdb_agent_memory.caches.policies import ToolPolicies, ToolPolicy
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import EngineError
from betterdb_agent_memory.live_config import SETTINGS, LiveConfig, MemoryConfigSnapshot, Resolved
from betterdb_agent_memory.live_config.fields import value_of
from betterdb_agent_memory.live_config.texts import Value
from betterdb_agent_memory.live_config.writing import fields_to_remove, fields_to_write
from betterdb_agent_memory.options import HybridOptions, RecallWeights, Retrieval, Scoring


@dataclass(frozen=True, slots=True)
class SettingInForce:
    """A value, and whether the constructor gave it or the live configuration.

    `ignored` is what the live configuration holds for it when that cannot be used.
    """

    value: Value | None
    source: Literal["constructor", "live"]
    ignored: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigInForce:
    """The configuration of this worker, as of one reading.

    `memory` is the long-term tier's, `settings` the same by name (`threshold`, `weights.recency` ...) with
    where each comes from. `tool_ttl_seconds` has the tools that have a policy, `ignored_tools` why others'
    cannot be used. `live` has what the workers that follow live configuration obey, by name. This worker
    `follows`, or it was made with `config_refresh` off and keeps to its constructor.
    """

    memory: MemoryConfigSnapshot
    settings: Mapping[str, SettingInForce]
    tool_ttl_seconds: Mapping[str, int]
    ignored_tools: Mapping[str, str]
    live: Mapping[str, Value | None] = field(default_factory=dict)
    follows: bool = True


class AgentConfig:
    """The live configuration of all workers of one name.

    What is set here counts for every worker that re-reads: in one interval, or at once where changes are
    listened for. It outlives this process. Everything is checked before anything is written, and what one
    call writes takes effect as a whole; when several write at once, the last one counts for each setting.

    A worker whose `config_refresh` is off shows and writes it for the others; its own memory tier stays as it is.
    """

    def __init__(self, values: Values, memory: LiveConfig, policies: ToolPolicies) -> None:
        self._values = values
        self._memory = memory
        self._policies = policies

    async def get(self) -> ConfigInForce:
        """Read the live configuration again, and show what is in force here and what it holds. Two round trips.

        Raises:
            EngineError: it could not be read; what was in force stays so.
        """
        found = await self._memory.look()
        if not await self._policies.refresh():
            raise EngineError("the tool policies could not be read; those in force stay")
        return self._in_force(found)

    async def set(
        self,
        *,
        threshold: float | None = None,
        weights: RecallWeights | None = None,
        half_life_seconds: float | None = None,
        max_items_per_scope: int | None = None,
        retrieval: Retrieval | None = None,
        scoring: Scoring | None = None,
        exact: bool | None = None,
        diversity: float | None = None,
        hybrid: HybridOptions | Mapping[str, float] | None = None,
    ) -> ConfigInForce:
        """Change the long-term tier of every worker; what is None stays as it is. Two round trips.

        `threshold` is the largest cosine distance of a hit, 0 to 2; `half_life_seconds` is above 0;
        `max_items_per_scope` is 1 or more; `diversity` is 0 to 1. `hybrid` is `HybridOptions(...)`, of which all
        are set, or a mapping such as `{"words_weight": 0.5}`. Returns what is in force here afterwards.

        Raises:
            InvalidInputError: a value cannot be used, or there is none; nothing was written.
            EngineError: it was not written, or, for an OutcomeUnknownError, perhaps.
        """
        fields = fields_to_write(
            {
                "threshold": threshold,
                "weights": weights,
                "half_life_seconds": half_life_seconds,
                "max_items_per_scope": max_items_per_scope,
                "retrieval": retrieval,
                "scoring": scoring,
                "exact": exact,
                "diversity": diversity,
                "hybrid": hybrid,
            }
        )
        await self._values.write_map(self._memory.key, fields)
        return self._in_force(await self._memory.look())

    async def reset(self, *names: str) -> ConfigInForce:
        """Let each worker's constructor decide again: about the settings named as in `set`, or about all.

        Single ones have names of their own, such as `weights.recency` and `hybrid.words_weight`. Tool policies
        stay. Two round trips.

        Raises:
            InvalidInputError: there is no such setting; nothing was written.
        """
        await self._values.remove_fields(self._memory.key, fields_to_remove(names))
        return self._in_force(await self._memory.look())

    async def set_tool_ttl(self, tool: str, ttl_seconds: int) -> None:
        """Let every worker keep results of `tool` for `ttl_seconds`, a whole number from 1. One round trip.

        Raises:
            InvalidInputError: the name has a colon or is empty, or the time cannot be used.
        """
        await self._policies.set(tool, ToolPolicy(ttl_seconds))

    async def remove_tool_policy(self, tool: str) -> bool:
        """Let the default decide about `tool` again; true when it had a policy. One round trip."""
        return await self._policies.remove(tool)

    def _in_force(self, found: Resolved) -> ConfigInForce:
        resolved = self._memory.resolved
        return ConfigInForce(
            memory=resolved.config,
            settings={
                setting.name: SettingInForce(
                    value_of(resolved.config, setting.name),
                    "live" if setting.field in resolved.live else "constructor",
                    found.ignored.get(setting.field),
                )
                for setting in SETTINGS
            },
            tool_ttl_seconds={tool: policy.ttl for tool, policy in sorted(self._policies.current.items())},
            ignored_tools=dict(self._policies.unusable),
            live={s.name: value_of(found.config, s.name) for s in SETTINGS if s.field in found.live},
            follows=self._memory.follows,
        )
