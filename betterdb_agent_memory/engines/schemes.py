"""How the URLs of servers begin."""

from __future__ import annotations

SERVER_SCHEMES = (
    "valkey",
    "valkeys",
    "redis",
    "rediss",
    "unix",
    *(f"{base}+{kind}" for kind in ("cluster", "sentinel") for base in ("valkey", "valkeys", "redis", "rediss")),
)
"""One server; some nodes of a cluster; sentinels. With an `s` at the end of the first word, over TLS."""
