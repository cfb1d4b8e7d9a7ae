"""What is set where: a flag before the environment, that before the file, that before the default.

No file is read from the current directory: a folder that somebody else filled must not decide
where memories go. Name one with `--config` or BETTERDB_CONFIG.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from betterdb_agent_memory.errors import ConfigurationError

CONFIG_VARIABLE: Final = "BETTERDB_CONFIG"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from."""

    value: Any
    source: str

    @property
    def shown(self) -> Any:
        """The value without the secrets that a URL may carry."""
        from betterdb_agent_memory.options.secrets import masked

        return masked(self.value) if isinstance(self.value, str) else self.value


def resolve(
    flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None, *, must_exist: bool
) -> dict[str, Setting]:
    """Every setting, with where it came from.

    Raises:
        ConfigurationError: the file cannot be read, has an unknown key, or a value is unusable.
    """
    from betterdb_agent_memory.options.environment import KEYS, read_value

    in_file = _read(file, must_exist=must_exist) if file is not None else {}
    settings = {}
    for key in KEYS:
        for value, source in (
            (flags.get(key.name), f"flag {key.flag}"),
            (environment.get(key.variable) or None, f"environment {key.variable}"),
            (in_file.get(key.name), f"file {file}"),
        ):
            if value is not None:
                settings[key.name] = Setting(read_value(key, value, source), source)
                break
        else:
            settings[key.name] = Setting(key.default, "default")
    return settings


def _read(file: Path, *, must_exist: bool) -> dict[str, Any]:
    from betterdb_agent_memory.options.environment import KEYS

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise ConfigurationError(f"there is no configuration file {file}") from None
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}") from error
    known = [key.name for key in KEYS]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ConfigurationError(f"{file} sets {', '.join(map(repr, unknown))}; known are {', '.join(known)}")
    return values
