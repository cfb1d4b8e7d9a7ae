"""How an option is checked: what it accepts is said in words, and those words are the error."""

from __future__ import annotations

import functools
import math
import numbers
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, SupportsIndex, TypeGuard, TypeVar, dataclass_transform

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from betterdb_agent_memory.errors import ConfigurationError

_T = TypeVar("_T")
_ACCEPTS = "accepts"
_METRIC_NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")
_CONFIG = ConfigDict(arbitrary_types_allowed=True, extra="forbid")


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number of Python or numpy; a boolean is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def finite_number(name: str, value: object) -> float:
    """`value` as a float, or an error that names it."""
    if not is_number(value) or not math.isfinite(value):
        raise ConfigurationError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def count_of_at_least_one(name: str, value: object) -> int:
    """`value` as a whole number of at least 1, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def count_up_to(name: str, value: object, most: int) -> int:
    """`value` as a whole number from 1 to `most`, or an error that names it."""
    count = count_of_at_least_one(name, value)
    if count > most:
        raise ConfigurationError(f"{name} must be a whole number from 1 to {most}, got {value!r}")
    return count


@dataclass(frozen=True, slots=True)
class Accepts:
    """What an annotated field accepts, in words that follow "must be".

    `check` makes the value of what was given, or raises a ValueError or TypeError; without one, the
    annotated type decides.
    """

    words: str
    check: Callable[[Any], Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """What pydantic makes of the annotation."""
        if self.check is not None:
            return core_schema.no_info_plain_validator_function(functools.partial(self._checked, self.check))
        return core_schema.no_info_wrap_validator_function(self._checked_by_type, handler(source))

    def _checked(self, check: Callable[[Any], Any], value: Any) -> Any:
        try:
            return check(value)
        except ConfigurationError:
            raise  # it says more than our words
        except (ValueError, TypeError):
            raise self._refusal() from None

    def _checked_by_type(self, value: Any, by_type: Callable[[Any], Any]) -> Any:
        try:
            return by_type(value)
        except ValidationError:
            raise self._refusal() from None

    def _refusal(self) -> PydanticCustomError:
        return PydanticCustomError(_ACCEPTS, "{words}", {"words": self.words})


def whole_number(least: int, most: int | None = None, *, unit: str = "") -> Accepts:
    """Whole numbers of Python or numpy from `least` to `most`; no booleans, no text."""

    def check(value: Any) -> int:
        if not isinstance(value, SupportsIndex) or isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
        if number < least or (most is not None and number > most):
            raise ValueError
        return number

    bounds = f"from {least}" if most is None else f"from {least} to {most}"
    return Accepts(f"a whole number{unit} {bounds}", check)


def number(least: float, most: float | None = None, *, above: bool = False, unit: str = "") -> Accepts:
    """Finite numbers of Python or numpy from (or only `above`) `least` to `most`; no booleans, no text."""

    def check(value: Any) -> float:
        if not is_number(value) or not math.isfinite(value):
            raise ValueError
        if value < least or (above and value == least) or (most is not None and value > most):
            raise ValueError
        return float(value)

    lower = f"above {least:g}" if above else f"from {least:g}"
    return Accepts(f"a number{unit} {lower}{'' if most is None else f' to {most:g}'}", check)


def text() -> Accepts:
    """Text that is not empty."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    return Accepts("a text that is not empty", check)


def metric_name() -> Accepts:
    """What Prometheus takes as a metric's name, or the beginning of one."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not _METRIC_NAME.fullmatch(value):
            raise ValueError
        return value

    return Accepts("letters, digits, underscores and colons without a digit in front, as Prometheus has it", check)


def either(kind: type) -> Accepts:
    """True, false, or one of `kind` that says how."""

    def check(value: Any) -> Any:
        if not isinstance(value, (bool, kind)):
            raise TypeError
        return value

    return Accepts(f"true, false or {kind.__name__}(...)", check)


def switch() -> Accepts:
    """True or false, and nothing that merely could be read as one of them."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value

    return Accepts("true or false", check)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def options(cls: type[_T]) -> type[_T]:
    """A frozen, slotted dataclass whose values are checked when it is made.

    A wrong value, a missing or an unknown field is a ConfigurationError that names `Class.field`.
    """
    made: Any = pydantic_dataclass(frozen=True, slots=True, config=_CONFIG)(cls)
    checked_init = made.__init__

    @functools.wraps(checked_init)
    def init(self: Any, *arguments: Any, **values: Any) -> None:
        try:
            checked_init(self, *arguments, **values)
        except ValidationError as error:
            raise refusal(made.__name__, [option.name for option in fields(made)], error) from None

    made.__init__ = init
    result: type[_T] = made
    return result


class OptionsModel(BaseModel):
    """A pydantic model whose errors are ours: a wrong option is a ConfigurationError that names `Class.field`."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise refusal(type(self).__name__, list(type(self).model_fields), error) from None


def refusal(owner: str, known: list[str], error: ValidationError) -> ConfigurationError:
    """What is wrong with the options of class `owner`, whose fields are `known`, in one line."""
    problems = dict.fromkeys(_problem(owner, known, detail) for detail in error.errors(include_url=False))
    return ConfigurationError("; ".join(problems))


def _problem(owner: str, known: list[str], detail: ErrorDetails) -> str:
    kind, given = detail["type"], detail["input"]
    first, *rest = detail["loc"] or ("",)
    named = known[first] if isinstance(first, int) and first < len(known) else first
    where = ".".join(map(str, [owner, named, *rest]))
    if kind in ("missing", "missing_argument"):
        return f"{where} is missing"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where} is unknown; {owner} has {', '.join(known)}"
    if kind == "unexpected_positional_argument":
        return f"{owner} takes fewer arguments without a name, got {given!r:.80}"
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, ConfigurationError):
        # One that knows its own field, or, for a value that is checked elsewhere too, names the value.
        return str(cause) if str(cause).startswith(owner) else f"{where}: {cause}"
    if kind == _ACCEPTS:
        return f"{where} must be {detail['msg']}, got {given!r:.80}"
    if kind == "dataclass_type":
        return f"{where} must be {detail['ctx']['class_name']}(...), got {given!r:.80}"
    return f"{where}: {detail['msg']}, got {given!r:.80}"
