"""What tenants may be called, and the names that their keys begin with: pure."""

from __future__ import annotations

import re

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.options import checked_name

MAX_TENANT_CHARACTERS = 64
_TENANT = re.compile(rf"[A-Za-z0-9_.@+=-]{{1,{MAX_TENANT_CHARACTERS}}}")
_ESCAPED = {"%": "%25", "{": "%7B", "}": "%7D"}


def checked_tenant(tenant: object) -> str:
    """The name of a tenant: up to 64 letters of ASCII, digits and `_ . @ + = -`, compared byte for byte.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(tenant, str) or not is_tenant(tenant):
        raise InvalidInputError(
            f"the name of a tenant is 1 to {MAX_TENANT_CHARACTERS} characters out of A-Z, a-z, 0-9 and _.@+=-, got "
            f"{tenant!r:.100}; for other names use their SHA-256, or a number of your own"
        )
    return str.__str__(tenant)


def is_tenant(text: str) -> bool:
    """Whether a tenant may be called so."""
    return _TENANT.fullmatch(text) is not None


def tenant_name(name: str, tenant: str) -> str:
    """The store's name of a tenant of the agent called `name`: all its keys hash to one slot.

    No two pairs have the same one, and none begins another. What is in braces decides the slot, so braces of the
    agent's own name are escaped.

    >>> tenant_name("betterdb_ac", "acme")
    '{betterdb_ac:acme}'
    """
    return checked_name(f"{{{_escaped(name)}:{tenant}}}")


def pool_name(name: str, number: int) -> str:
    """The store's name of a pool; `~` stands in no tenant's name.

    >>> pool_name("betterdb_ac", 3)
    '{betterdb_ac:~3}'
    """
    return checked_name(f"{{{_escaped(name)}:~{number}}}")


def promoted_name(name: str, number: int, tenant: str) -> str:
    """The store's name of the memories of a tenant that has left a pool: in the pool's slot, so that a memory goes
    from one to the other in one step on a cluster, too.

    >>> promoted_name("betterdb_ac", 3, "acme")
    '{betterdb_ac:~3}:~acme'
    """
    return checked_name(f"{pool_name(name, number)}:~{tenant}")


def tenants_prefix(name: str) -> str:
    """What the keys of all tenants of the agent called `name` begin with."""
    return f"{{{_escaped(name)}:"


def _escaped(name: str) -> str:
    return "".join(_ESCAPED.get(character, character) for character in name)
