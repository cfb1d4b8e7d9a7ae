"""Two tenants never have a key in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from valkey.crc import key_slot

from betterdb_agent_memory import InvalidInputError
from betterdb_agent_memory.engines.partitioned import SEPARATOR, mark_of
from betterdb_agent_memory.options import checked_name
from betterdb_agent_memory.tenants.names import checked_tenant, pool_name, promoted_name, tenant_name, tenants_prefix

TENANTS = st.from_regex(r"[A-Za-z0-9_.@+=-]{1,8}", fullmatch=True)
NAMES = st.text(st.sampled_from("ab{}:%~0"), min_size=1, max_size=8)


def names() -> st.SearchStrategy[str]:
    """Names that an agent may have."""

    def is_allowed(name: str) -> bool:
        try:
            return bool(checked_name(name))
        except ValueError:
            return False

    return NAMES.filter(is_allowed)


@given(names(), names(), TENANTS, TENANTS)
def test_no_two_tenants_share_a_key(one: str, other: str, tenant: str, neighbour: str) -> None:
    mine, theirs = tenant_name(one, tenant), tenant_name(other, neighbour)
    if (one, tenant) == (other, neighbour):
        assert mine == theirs
    else:
        assert not f"{theirs}:".startswith(f"{mine}:")
        assert not f"{mine}:".startswith(f"{theirs}:")


@given(names(), TENANTS)
def test_the_slot_is_that_of_the_whole_name(name: str, tenant: str) -> None:
    full = tenant_name(name, tenant)
    key = f"{full}:mem:{{id}}"
    assert key[key.index("{") : key.index("}") + 1] == full
    assert full.startswith(tenants_prefix(name))


@given(names(), TENANTS, st.integers(0, 2_000))
def test_no_tenant_has_the_name_of_a_pool(name: str, tenant: str, number: int) -> None:
    mine, pool, moved = tenant_name(name, tenant), pool_name(name, number), promoted_name(name, number, tenant)
    assert mine != pool
    assert key_slot(f"{pool}:mem:{tenant}|{{x}}".encode()) == key_slot(f"{moved}:mem:{{x}}".encode())
    assert not f"{moved}:mem:".startswith(f"{pool}:mem:")


@given(TENANTS, TENANTS)
def test_in_a_pool_tenants_differ_in_more_than_case(tenant: str, neighbour: str) -> None:
    assert (mark_of(tenant).lower() == mark_of(neighbour).lower()) == (tenant == neighbour)


@given(TENANTS, TENANTS, st.text(max_size=5), st.text(max_size=5))
def test_equal_ids_of_tenants_are_apart_in_a_pool(tenant: str, neighbour: str, id: str, other: str) -> None:
    stored, foreign = f"{tenant}{SEPARATOR}{id}", f"{neighbour}{SEPARATOR}{other}"
    assert (stored == foreign) == ((tenant, id) == (neighbour, other))


@pytest.mark.parametrize(
    "tenant", ["", "a:b", "a{b", "a}b", "a|b", "a b", "a\n", "~1", "ä", "x" * 65, "a^b", b"acme", None, 7]
)
def test_other_names_are_refused(tenant: object) -> None:
    with pytest.raises(InvalidInputError, match="name of a tenant"):
        checked_tenant(tenant)
