"""What must not be printed: the secrets that a URL may carry."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

HIDDEN: Final = "***"

_SECRET_WORDS: Final = ("pass", "secret", "token", "key", "auth", "credential")
_SHORTEST_SECRET: Final = 4
"""Shorter ones are not looked for in messages: half of the words would be hidden."""


def masked(url: str) -> str:
    """A URL without its password, and without query values that look like one."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://{HIDDEN}"
    credentials, at, host = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    if not colon and not any(_is_secret(name) for name, _ in query):
        return url
    netloc = f"{user}{colon}{HIDDEN if colon else ''}{at}{host}"
    shown = urlencode([(name, HIDDEN if _is_secret(name) else value) for name, value in query], safe="*/:")
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if shown else ''}{shown}"


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def secrets_of(url: str) -> list[str]:
    """The secrets in a URL, as they are spelt there and unescaped, longest first."""
    if "://" not in url:
        return []
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    written = [parts.netloc.rpartition("@")[0].partition(":")[2]]
    written += [value for name, value in parse_qsl(parts.query) if any(word in name.lower() for word in _SECRET_WORDS)]
    spelt = {text for secret in written for text in (secret, unquote(secret)) if len(text) >= _SHORTEST_SECRET}
    return sorted(spelt, key=len, reverse=True)
