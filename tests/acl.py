"""Users that may do what a store needs and no more, by the line in docs/engines.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.servers import ValkeyServer

_PAGE = Path(__file__).parent.parent / "docs" / "engines.md"


def documented_rules() -> list[str]:
    """The rules behind the name in the page's ACL SETUSER line, for a store named `betterdb_ac`."""
    [line] = re.findall(r"^valkey-cli ACL SETUSER agent (.*)$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(line)


async def make_user(server: ValkeyServer, *names: str, without: str | None = None) -> str:
    """`user:password` of a user with the documented rights on these stores, but for one rule."""
    rules = [rule for rule in documented_rules() if rule not in (without, "~betterdb_ac:*")]
    keys = [f"~{name}*" for name in names]
    client = server.client()
    try:
        await client.execute_command("ACL", "SETUSER", f"u{names[0]}", "reset", *rules, *keys)
    finally:
        await client.aclose()
    return f"u{names[0]}:choose-a-password"
