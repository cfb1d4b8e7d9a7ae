"""What a package named `betterdb_agent_memory` offers, as JSON: names, parameters, fields, members.

    python surface.py label=module:attribute ...

Runs in a process of its own, for the published package as for ours, since both have the same import name:
nothing is imported at the top that could be either. The labelled attributes are described beside the names
that the package exports.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import sys
import typing
from typing import Any


def plain(value: Any) -> Any:
    """A default as JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | None) else f"<{type(value).__name__}>"


def parameters(function: Any, factories: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    described = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        entry: dict[str, Any] = {"name": name, "kind": parameter.kind.name}
        if parameter.default is not inspect.Parameter.empty:
            made = (factories or {}).get(name)
            entry["default"] = plain(made() if made else parameter.default)
        described.append(entry)
    return described


def members(cls: type) -> dict[str, Any]:
    """The public methods and properties of a class, inherited ones of the package included."""
    found: dict[str, Any] = {}
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            found[name] = {"property": True}
        elif inspect.isfunction(value):
            found[name] = {"async": inspect.iscoroutinefunction(value), "parameters": parameters(value)}
    return found


def typed_keys(cls: type) -> dict[str, list[str]]:
    """The keys that must be there and those that may; the class itself misjudges annotations that are texts."""
    required: list[str] = []
    optional: list[str] = []
    for key, hint in typing.get_type_hints(cls, include_extras=True).items():
        said = typing.get_origin(hint)
        must = said is typing.Required or (said is not typing.NotRequired and cls.__total__)  # type: ignore[attr-defined]
        (required if must else optional).append(key)
    return {"required": sorted(required), "optional": sorted(optional)}


def described_class(cls: type) -> dict[str, Any]:
    if typing.is_typeddict(cls):
        return {"kind": "typed dict", **typed_keys(cls)}
    entry: dict[str, Any] = {"kind": "class", "members": members(cls)}
    factories = {}
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.default_factory is not dataclasses.MISSING:
                factories[field.name] = field.default_factory
        entry["fields"] = [field.name for field in dataclasses.fields(cls)]
    if issubclass(cls, Exception):
        entry["kind"] = "error"
        package = importlib.import_module("betterdb_agent_memory")
        exported = {name: getattr(package, name) for name in package.__all__}
        entry["bases"] = [name for name, base in exported.items() if inspect.isclass(base) and base in cls.__mro__]
    if inspect.isfunction(cls.__init__):  # type: ignore[misc]
        entry["parameters"] = parameters(cls, factories)
    return entry


def described(value: Any) -> dict[str, Any]:
    if inspect.isclass(value) and not typing.get_origin(value):
        return described_class(value)
    if inspect.isfunction(value):
        return {"kind": "function", "async": inspect.iscoroutinefunction(value), "parameters": parameters(value)}
    if isinstance(value, str | list):
        return {"kind": "constant", "value": plain(value)}
    if isinstance(value, dict):
        return {"kind": "table", "of": sorted({type(entry).__name__ for entry in value.values()})}
    return {"kind": "alias"}


def surface(labelled: dict[str, str]) -> dict[str, Any]:
    package = importlib.import_module("betterdb_agent_memory")
    named = {name: getattr(package, name) for name in package.__all__}
    for label, place in labelled.items():
        module, _, attribute = place.partition(":")
        named[label] = getattr(importlib.import_module(module), attribute)
    return {name: described(value) for name, value in sorted(named.items())}


if __name__ == "__main__":
    print(json.dumps(surface(dict(argument.split("=", 1) for argument in sys.argv[1:]))))
