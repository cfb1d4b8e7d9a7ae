"""What operators change about one tenant: nothing any more, once it was deleted."""

from __future__ import annotations

from typing import Any

from betterdb_agent_memory.agent_config import AgentConfig, ConfigInForce
from betterdb_agent_memory.tenants.state import TenantKeeper


class TenantConfig(AgentConfig):
    """As `AgentConfig`, with one round trip more for what is written.

    Raises:
        ConfigurationError: the tenant is being deleted, or was; nothing was written.
    """

    _keeper: TenantKeeper
    _tenant: str

    def of(self, tenant: str, keeper: TenantKeeper) -> TenantConfig:
        """The same, looking first whether the tenant is still there."""
        self._tenant, self._keeper = tenant, keeper
        return self

    async def set(self, **settings: Any) -> ConfigInForce:
        """See `AgentConfig.set`."""
        await self._keeper.refuse_deleted(self._tenant)
        return await super().set(**settings)

    async def reset(self, *names: str) -> ConfigInForce:
        """See `AgentConfig.reset`."""
        await self._keeper.refuse_deleted(self._tenant)
        return await super().reset(*names)

    async def set_tool_ttl(self, tool: str, ttl_seconds: int) -> None:
        """See `AgentConfig.set_tool_ttl`."""
        await self._keeper.refuse_deleted(self._tenant)
        await super().set_tool_ttl(tool, ttl_seconds)

    async def remove_tool_policy(self, tool: str) -> bool:
        """See `AgentConfig.remove_tool_policy`."""
        await self._keeper.refuse_deleted(self._tenant)
        return await super().remove_tool_policy(tool)
