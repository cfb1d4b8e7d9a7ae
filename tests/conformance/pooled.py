"""A place where every store is a tenant of one pool, beside neighbours that have all it ever had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from betterdb_agent_memory.engines.base import (
    Collection,
    Engine,
    Fence,
    GroupCounting,
    LinkedRecords,
    Outcome,
    Records,
    RecordWrite,
)
from betterdb_agent_memory.engines.event_log import Announcing
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.links import Links
from betterdb_agent_memory.engines.partitioned import PartitionedRecords
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA, memory_collection
from betterdb_agent_memory.options import TenantLimits
from betterdb_agent_memory.tenants.engine import Pools, TenantEngine, TenantRecords
from betterdb_agent_memory.tenants.state import TenantKeeper

NOT_FOR_POOLS = {
    "test_a_turn_whose_next_one_was_appended_by_a_killed_worker_is_mixed_with_it": "the worker opens no tenant",
    "test_a_change_of_models_redoes_the_windows": "refused in a pool: tests/tenants/test_promotion.py",
    "test_round_trips": "the neighbours write, too",
    "test_keys_of_others_are_not_found_by_words": "the name of a tenant has no colon",
    "test_f19_when_all_sources_expire_while_the_model_thinks_nothing_is_written": "time passes alike for all",
    "test_a_lease_is_renewed_while_the_model_thinks": "a lease has nothing to do with where memories are",
    "test_a_run_that_stood_still_for_too_long_writes_nothing": "a lease has nothing to do with where memories are",
}
"""Tests that are no tenant's of a pool, and why."""


class CrowdedRecords(TenantRecords):
    """What is written is written for two neighbours as well: the same ids, scopes, texts and vectors.

    One has the name in other letters, the other one that the tenant's begins with.
    """

    def __init__(self, engine: Engine, pools: Pools, collection: Collection, keeper: TenantKeeper, tenant: str) -> None:
        super().__init__(engine, pools, collection, keeper, tenant)
        self.neighbours = [PartitionedRecords(pools.shared(0), other) for other in (tenant.upper(), tenant[:-1])]
        self.theirs: dict[str, Fields] = {}

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        outcomes = await super().write_many(writes, fence=fence)
        lasting = [replace(write, ttl_seconds=None, expires_at_ms=None, if_exists=None) for write in writes]
        for neighbour in self.neighbours:
            await neighbour.write_many(lasting)
        self.theirs |= {write.id: write.fields for write in writes}
        return outcomes


class PooledEngine(TenantEngine):
    """`engine`, where the memories of every store are those of a tenant in one pool."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pool = f"pool{uuid4().hex}"
        self.crowds: dict[tuple[str, bool], CrowdedRecords] = {}
        nobody = "nobody"
        super().__init__(engine, nobody, self._of(nobody, memory_collection(nobody)))

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> Records:
        name = collection.key_prefix.removesuffix(":mem:")
        if collection.schema != MEMORY_SCHEMA or name == collection.key_prefix:
            return self.engine.records(collection, counting, announcing)
        crowd = self._of(name, collection)
        if counting is not None or announcing is not None:
            crowd.attach(counting, announcing)
        return crowd

    def links(self, linked: LinkedRecords) -> Links:
        collection = linked.places[0][0]
        return self._of(collection.key_prefix.removesuffix(":mem:"), collection).links()

    def _of(self, name: str, collection: Collection) -> CrowdedRecords:
        by_tags = bool(collection.group_sets)
        if (name, by_tags) not in self.crowds:
            pools = Pools(self.engine, self.pool, by_tags=by_tags)
            keeper = TenantKeeper(self.engine.values, name, default=0, limits=TenantLimits(), believed_seconds=60)
            self.crowds[name, by_tags] = CrowdedRecords(self.engine, pools, collection, keeper, name)
        return self.crowds[name, by_tags]

    async def assert_neighbours_have_everything(self) -> None:
        """Nobody else's memory was deleted or changed by what a test did to its own."""
        for crowd in self.crowds.values():
            for neighbour in crowd.neighbours:
                stored = await neighbour.read_many([*crowd.theirs], None)
                assert dict(zip(crowd.theirs, stored, strict=True)) == crowd.theirs
