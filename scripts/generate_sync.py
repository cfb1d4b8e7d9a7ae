"""Write betterdb_agent_memory/sync/generated.py: the asynchronous classes again, without `await`.

    python scripts/generate_sync.py            write it
    python scripts/generate_sync.py --check    exit 1 when it is not up to date

Signatures and docstrings are taken from the source of the asynchronous
classes; every method hands its arguments to the object that lives in the loop (sync/bridge.py).
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib
import inspect
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

PACKAGE = "betterdb_agent_memory"
TARGET = Path(__file__).resolve().parent.parent / PACKAGE / "sync" / "generated.py"

CLASSES = {
    "AgentMemory": f"{PACKAGE}.agent_memory",
    "MemoryStore": f"{PACKAGE}.memory.store",
    "EmbeddingMigration": f"{PACKAGE}.memory.generations.migration",
    "AgentCache": f"{PACKAGE}.agent_cache",
    "AgentConfig": f"{PACKAGE}.agent_config",
    "Dynamics": f"{PACKAGE}.dynamics.dynamics",
    "Tenant": f"{PACKAGE}.tenants.tenant",
    "Tenants": f"{PACKAGE}.tenants.tenants",
    "LlmCache": f"{PACKAGE}.caches.llm",
    "ToolCache": f"{PACKAGE}.caches.tool",
    "SessionCache": f"{PACKAGE}.caches.session",
    "EmbeddingCache": f"{PACKAGE}.caches.embedding",
}
"""Every class whose methods wait for something, and where it is."""

INTERNAL = {
    "EmbeddingCache": {"failed", "forget_local", "keep", "look_up"},
    "LlmCache": {"close"},
    "MemoryStore": {"live_config", "workplace"},
    "Tenant": {"close", "write_pending"},
    "Tenants": {"close"},
}
"""Methods by which parts of this library speak to each other."""

ATTRIBUTES = {"MemoryStore": {"name": "str"}}
"""Attributes that a constructor sets, and their types."""

WAITING = {"cached_anthropic", "cached_openai_chat", "cached_openai_responses", "fetch_and_hash"}
"""Functions that wait for something, or wrap what does: their twins are in sync/wrapping.py."""

WITHOUT_TWIN = {
    *("Analytics", "CachedEmbedder", "CoalescingEmbedder", "Embedder", "FunctionEmbedder"),
    *("FunctionReranker", "Reranker"),
}
"""What the asynchronous core itself waits for, and what means nothing: handed over as it is."""

FUNCTIONS = {
    "embed_fn",
    "next_embed_fn",
    "embedder",
    "next_embedder",
    "summarize",
    "extract_facts",
    "call",
    "reranker",
    "detector",
}
"""Parameters that take an asynchronous function: a plain one is taken too, and run in a thread."""

AROUND = {"store"}
"""Parameters that take an object that has a twin."""

OPTION_CLASSES = {"AgentMemoryOptions": f"{PACKAGE}.options"}
"""Options that hold asynchronous functions: the twin's take plain ones, as type checkers shall know."""

HEADER = '''"""The asynchronous classes without `await`; written by scripts/generate_sync.py, not by hand."""

from __future__ import annotations

'''


@dataclass
class Source:
    """A module: what its names mean, and its classes."""

    module: ModuleType
    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)


@dataclass
class Method:
    """A function of a class with the module whose names it uses."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    source: Source
    kind: str


@cache
def source_of(module_name: str) -> Source:
    module = importlib.import_module(module_name)
    tree = ast.parse(inspect.getsource(module))
    source = Source(module, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                alias = f" as {name.asname}" if name.asname else ""
                source.imports[name.asname or name.name] = f"from {node.module} import {name.name}{alias}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                alias = f" as {name.asname}" if name.asname else ""
                source.imports[(name.asname or name.name).partition(".")[0]] = f"import {name.name}{alias}"
    for statement in tree.body:
        for defined in defined_by(statement):
            source.imports.setdefault(defined, f"from {module_name} import {defined}")
    return source


def defined_by(statement: ast.stmt) -> list[str]:
    """The names that a statement of a module gives a meaning to."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def class_node(source: Source, name: str) -> ast.ClassDef:
    return next(node for node in source.tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def kind_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    for kind in ("property", "classmethod", "staticmethod"):
        if kind in decorators:
            return kind
    return "method"


def methods_of(cls: type) -> dict[str, Method]:
    found: dict[str, Method] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__.startswith(PACKAGE)]):
        source = source_of(base.__module__)
        for node in class_node(source, base.__name__).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = Method(node, source, kind_of(node))
    return found


def attributes_of(cls: type) -> dict[str, tuple[str, Source | None]]:
    found: dict[str, tuple[str, Source | None]] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__.startswith(PACKAGE)]):
        source = source_of(base.__module__)
        for node in class_node(source, base.__name__).body:
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and not node.target.id.startswith("_")
            ):
                found[node.target.id] = (ast.unparse(node.annotation), source)
    return found | {name: (kind, None) for name, kind in ATTRIBUTES.get(cls.__name__, {}).items()}


@cache
def public() -> frozenset[str]:
    """The public names of the package."""
    return frozenset(importlib.import_module(PACKAGE).__all__)


class Writer:
    """The text of the module, and the imports that it needs."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.lines: list[str] = []

    def note_names(self, source: Source | None, *nodes: ast.AST | None) -> None:
        """Import what the names in `nodes` mean in their module; the public ones are imported anyway."""
        if source is None:
            return
        names = {part.id for node in nodes if node is not None for part in ast.walk(node) if isinstance(part, ast.Name)}
        for name in names - CLASSES.keys() - public():
            if name in source.imports:
                self.imports.add(source.imports[name])
            elif not hasattr(builtins, name):
                raise SystemExit(f"{source.module.__name__}: nobody knows the name {name}")

    def write_class(self, name: str, module: str) -> None:
        """One class."""
        cls = getattr(importlib.import_module(module), name)
        methods = methods_of(cls)
        self.imports.add(f"from {module} import {name} as Async{name}")
        self.lines += [f"class {name}(Bridged):", docstring(cls.__doc__, "    "), "", f"    _inner: Async{name}", ""]
        for attribute, (annotation, source) in attributes_of(cls).items():
            self.note_names(source, ast.parse(annotation))
            self.write_attribute(attribute, annotation)
        for method in methods.values():
            if method.node.name == "__init__":
                self.write_constructor(name, method)
            elif method.node.name == "__aenter__":
                self.write_context(name)
            elif not method.node.name.startswith("_") and method.node.name not in INTERNAL.get(name, set()):
                self.write_method(name, method)

    def write_options(self, name: str, module: str) -> None:
        """Options: the same class, with plain functions allowed."""
        cls = getattr(importlib.import_module(module), name)
        self.imports |= {
            f"from {module} import {name} as Async{name}",
            "from collections.abc import Callable",
            "from typing import TYPE_CHECKING, Any",
        }
        annotations = attributes_of(cls)
        parameters = ["self"]
        keyword_only = False
        for parameter in inspect.signature(cls).parameters.values():
            annotation, source = annotations[parameter.name]
            self.note_names(source, ast.parse(annotation))
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keyword_only:
                keyword_only = True
                parameters.append("*")
            widened = f"{annotation} | Callable[..., Any]" if parameter.name in FUNCTIONS else annotation
            default = "" if parameter.default is inspect.Parameter.empty else " = ..."
            parameters.append(f"{parameter.name}: {widened}{default}")
        self.lines += [
            f"class {name}(Async{name}):",
            docstring(cls.__doc__, "    "),
            "",
            "    if TYPE_CHECKING:",
            "",
            f"        def __init__({', '.join(parameters)}) -> None: ...",
            "",
            "    else:",
            "",
            "        def __init__(self, *arguments: Any, **values: Any) -> None:",
            "            super().__init__(*arguments, **with_async_functions(values))",
            "",
        ]

    def write_attribute(self, attribute: str, annotation: str) -> None:
        """One attribute, as a property."""
        value = f"self._inner.{attribute}"
        self.lines += [
            "    @property",
            f"    def {attribute}(self) -> {annotation}:",
            f'        """The `{attribute}` of the asynchronous object."""',
            f"        return {around(annotation, value)}",
            "",
        ]

    def write_context(self, name: str) -> None:
        """`with` in place of `async with`."""
        self.imports.add("from types import TracebackType")
        self.lines += [
            f"    def __enter__(self) -> {name}:",
            "        wait(self._inner.__aenter__())",
            "        return self",
            "",
            "    def __exit__(",
            "        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None",
            "    ) -> None:",
            "        wait(self._inner.__aexit__(kind, error, trace))",
            "",
        ]

    def signature(self, method: Method) -> tuple[str, str]:
        """The parameters as written, and the arguments that pass them on."""
        arguments = method.node.args
        for one in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            self.note_names(method.source, one.annotation)
            if (
                one.arg in FUNCTIONS
                and one.annotation is not None
                and (plain := "Callable[..., Any]") not in (text := ast.unparse(one.annotation))
            ):
                end = f"{plain} | None" if text.endswith(" | None") else plain
                one.annotation = ast.parse(f"{text.removesuffix(' | None')} | {end}", mode="eval").body
                self.imports |= {"from collections.abc import Callable", "from typing import Any"}
        for extra in (arguments.vararg, arguments.kwarg):
            if extra is not None:
                self.note_names(method.source, extra.annotation)
        self.note_names(method.source, *arguments.defaults, *arguments.kw_defaults)
        passed = [converted(one.arg) for one in [*arguments.posonlyargs, *arguments.args][1:]]
        if arguments.vararg is not None:
            passed.append(f"*{arguments.vararg.arg}")
        passed += [f"{one.arg}={converted(one.arg)}" for one in arguments.kwonlyargs]
        if arguments.kwarg is not None:
            passed.append(f"**{arguments.kwarg.arg}")
        return ast.unparse(arguments), ", ".join(passed)

    def write_constructor(self, name: str, method: Method) -> None:
        """The constructor, where users have one."""
        arguments = method.node.args
        if any(one.arg in HIDDEN for one in [*arguments.args, *arguments.kwonlyargs]):
            return
        parameters, passed = self.signature(method)
        self.lines += [
            f"    def __init__({parameters}) -> None:",
            f"        self._inner = call(Async{name}{', ' if passed else ''}{passed})",
            "",
        ]

    def write_method(self, name: str, method: Method) -> None:
        """One method, property or class method."""
        node = method.node
        returns = node.returns
        text = ast.unparse(returns) if returns is not None else "None"
        is_iterator = text.startswith("AsyncIterator[")
        if is_iterator:
            assert isinstance(returns, ast.Subscript)
            self.imports.add("from collections.abc import Iterator")
            self.note_names(method.source, returns.slice)
            text = f"Iterator[{ast.unparse(returns.slice)}]"
        else:
            self.note_names(method.source, returns)
        parameters, passed = self.signature(method)
        about = docstring(ast.get_docstring(node), "        ")
        if method.kind == "property":
            self.lines += ["    @property", f"    def {node.name}(self) -> {text}:", about]
            self.lines += [f"        return {around(text, f'call(lambda: self._inner.{node.name})')}", ""]
            return
        target = f"Async{name}" if method.kind == "classmethod" else "self._inner"
        if method.kind != "method":
            self.lines.append(f"    @{method.kind}")
        value = f"{target}.{node.name}({passed})"
        if is_iterator:
            value = f"iterate({value})"
        elif text in SPECIAL:
            text = SPECIAL[text]
            value = f"{text}(call({target}.{node.name}{', ' if passed else ''}{passed}))"
        elif isinstance(node, ast.AsyncFunctionDef):
            value = f"wait({value})"
        else:
            value = f"call({target}.{node.name}{', ' if passed else ''}{passed})"
        if method.kind == "classmethod" and text in (name, "Self"):
            text, value = name, f"cls._around({value})"
        else:
            value = around(text, value)
        end = value if text == "None" else f"return {value}"
        self.lines += [f"    def {node.name}({parameters}) -> {text}:", about, f"        {end}", ""]


SPECIAL = {"CacheTool": "SyncCacheTool"}
"""Types of results that are no data and no class with a twin, and what stands around them here."""

HIDDEN = {"deferred", "engine", "keeper", "models", "memories", "tiers", "values"}
"""Parameters that only this library passes: a constructor with one of them is not public."""


def converted(parameter: str) -> str:
    """What is passed on for a parameter."""
    if parameter in AROUND:
        return f"{parameter}._inner"
    return f"as_async({parameter})" if parameter in FUNCTIONS else parameter


def around(annotation: str, value: str) -> str:
    """`value` as the sync twin's class where it is one of the asynchronous ones."""
    if annotation in CLASSES:
        return f"{annotation}._around({value})"
    return value


def docstring(text: str | None, indent: str) -> str:
    plain = inspect.cleandoc(text or "").replace("async with", "with").replace("await ", "")
    body = textwrap.indent(plain, indent).strip()
    return f'{indent}"""{body}"""' if "\n" not in body else f'{indent}"""{body}\n{indent}"""'


def generated() -> str:
    writer = Writer()
    writer.imports |= {
        f"from {PACKAGE}.sync.bridge import Bridged, as_async, call, iterate, wait, with_async_functions",
        f"from {PACKAGE}.sync.decorating import SyncCacheTool",
    }
    for name, module in CLASSES.items():
        writer.write_class(name, module)
        writer.lines.append("")
    for name, module in OPTION_CLASSES.items():
        writer.write_options(name, module)
    others = public() - CLASSES.keys() - OPTION_CLASSES.keys() - WAITING
    writer.imports |= {f"from {PACKAGE} import {name}" for name in others}
    names = ", ".join(f'"{name}"' for name in sorted(others | CLASSES.keys() | OPTION_CLASSES.keys()))
    text = HEADER + "\n".join(sorted(writer.imports)) + f"\n\n__all__ = [{names}]\n\n\n" + "\n".join(writer.lines)
    return formatted(text)


def formatted(text: str) -> str:
    for command in (["check", "--fix", "--quiet", "--select", "I,F401,RUF022"], ["format", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr + done.stdout[:2000])
        text = done.stdout
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = generated()
    if arguments.check:
        raise SystemExit(0 if TARGET.read_text(encoding="utf-8") == text else f"{TARGET} is not up to date")
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
