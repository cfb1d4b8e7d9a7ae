"""What is set where: a flag before the environment, that before the file, that before the default.

No file is read from the current directory: a folder that somebody else filled must not decide
where memories go. Name one with `--config` or BETTERDB_CONFIG.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from betterdb_agent_memory import ConfigurationError
from betterdb_agent_memory.options import DEFAULT_NAME, MAX_THRESHOLD

CONFIG_VARIABLE: Final = "BETTERDB_CONFIG"
HIDDEN: Final = "***"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


def _threshold(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"a number from 0 to {MAX_THRESHOLD:g}")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= MAX_THRESHOLD:
        raise ValueError(f"a number from 0 to {MAX_THRESHOLD:g}")
    return number


@dataclass(frozen=True, slots=True)
class Key:
    """A setting: its name in the file, its environment variable, its flag, and what it means.

    `read` makes a value of a text or of what the file holds, or raises a ValueError saying what it wants.
    """

    name: str
    flag: str
    meaning: str
    read: Callable[[object], Any] = _text
    default: Any = None

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"BETTERDB_{self.name.upper()}"


KEYS: Final = (
    Key("url", "--url", "the server (`valkey://host:6379`) or the file; by default a file in your data directory"),
    Key("name", "--name", "the store's name", default=DEFAULT_NAME),
    Key("embedder", "--embedder", "what makes vectors, by name; by default the offline embedder"),
    Key("threshold", "--threshold", "largest cosine distance of a memory that `recall` finds", _threshold),
    Key("model", "--model", "the language model of `consolidate`, as pydantic-ai names it"),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from."""

    value: Any
    source: str

    @property
    def shown(self) -> Any:
        """The value without the secrets that a URL may carry."""
        return masked(self.value) if isinstance(self.value, str) else self.value


def resolve(
    flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None, *, must_exist: bool
) -> dict[str, Setting]:
    """Every setting, with where it came from.

    Raises:
        ConfigurationError: the file cannot be read, has an unknown key, or a value is unusable.
    """
    in_file = _read(file, must_exist=must_exist) if file is not None else {}
    settings = {}
    for key in KEYS:
        for value, source in (
            (flags.get(key.name), f"flag {key.flag}"),
            (environment.get(key.variable) or None, f"environment {key.variable}"),
            (in_file.get(key.name), f"file {file}"),
        ):
            if value is not None:
                settings[key.name] = Setting(_value(key, value, source), source)
                break
        else:
            settings[key.name] = Setting(key.default, "default")
    return settings


def _value(key: Key, value: object, source: str) -> Any:
    try:
        return key.read(value)
    except ValueError as wanted:
        raise ConfigurationError(f"{key.name} from {source} must be {wanted}, got {masked(str(value))!r:.80}") from None


def _read(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise ConfigurationError(f"there is no configuration file {file}") from None
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}") from error
    known = [key.name for key in KEYS]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ConfigurationError(f"{file} sets {', '.join(map(repr, unknown))}; known are {', '.join(known)}")
    return values


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
