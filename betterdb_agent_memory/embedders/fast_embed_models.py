"""What models of `fastembed` have in common, whether they embed or rerank: how one is named and loaded."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from betterdb_agent_memory.errors import ConfigurationError

_CLOSE_NAMES: Final = 4

_Model = TypeVar("_Model")


class Listing(Protocol):
    """A class of fastembed that knows its models; each is described by a mapping with its name under `model`."""

    def list_supported_models(self) -> list[dict[str, Any]]:
        """All of them, those that the user registered too."""


def description(listing: Listing, model: object, *, kind: str, path: str) -> dict[str, Any]:
    """What fastembed says about `model`, by its name in upper or lower case.

    `kind` is what an error calls such a model, `path` where the user finds the class.

    Raises `ConfigurationError`, with names that are close, where fastembed does not know it.
    """
    listed = {described["model"]: described for described in listing.list_supported_models()}
    for name, described in listed.items():
        if isinstance(model, str) and name.lower() == model.lower():
            return described
    close = difflib.get_close_matches(str(model), listed, n=_CLOSE_NAMES, cutoff=0.0)
    raise ConfigurationError(
        f"fastembed has no {kind} {model!r}; close to it are {', '.join(close)}, and "
        f"`{path}.list_supported_models()` lists all"
    )


def loader(
    make: Callable[..., _Model],
    model: str,
    *,
    cache_dir: str | Path | None,
    local_files_only: bool,
    model_path: str | Path | None,
    threads: int | None,
) -> Callable[[], _Model]:
    """What loads the model; its weights are fetched where they are not there yet. See `FastEmbedEmbedder`."""
    options: dict[str, Any] = {"cache_dir": None if cache_dir is None else str(cache_dir), "threads": threads}
    if local_files_only:
        options["local_files_only"] = True
    if model_path is not None:
        options["specific_model_path"] = str(model_path)
    return partial(make, model, **options)
