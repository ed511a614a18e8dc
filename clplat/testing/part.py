"""What every part must do, of whatever kind."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from clplat.config.options import arguments

__all__ = ["Part", "PartContract", "PlainPartContract"]

Part = TypeVar("Part")


class PartContract(Generic[Part]):
    """Contract tests that all kinds of parts share."""

    def make(self) -> Part:
        """A fresh part, neither attached nor built nor fitted; equal at every call."""
        raise NotImplementedError("return a new part of the kind under test")

    def test_the_docstring_says_what_it_is(self) -> None:
        """In one line, and what every argument of the constructor is."""
        part: Any = self.make()
        text = inspect.cleandoc(type(part).__doc__ or "")
        line = text.partition("\n")[0]
        assert line, f"{type(part).__name__} has no docstring"
        assert line.endswith((".", ":")), f"the docstring's first line is no sentence: {line!r}"
        arguments = inspect.signature(type(part)).parameters.values()
        named = [a.name for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
        silent = [name for name in named if f"    {name}" not in text]
        assert not silent, f"the docstring's Args do not explain: {', '.join(silent)}"

    def test_a_wrong_value_is_refused_by_a_value_error(self) -> None:
        """The configuration completes it with the part's name."""
        part: Any = self.make()
        made: Callable[..., Any] = type(part)
        required = {a.name: getattr(part, a.name) for a in arguments(made) if a.required}
        for argument in arguments(made):
            for value in _doubtful(argument.type):
                try:
                    made(**{**required, argument.name: value})
                except ValueError:
                    pass
                except Exception as error:
                    raised = f"{argument.name}={value!r} raises {type(error).__name__}"
                    raise AssertionError(f"{raised}: a constructor refuses a value by ValueError") from error


class PlainPartContract(PartContract[Part]):
    """Those of parts that keep what their constructor is given; modules build something of it instead."""

    def test_the_constructor_stores_its_typed_arguments(self) -> None:
        part: Any = self.make()
        missing = object()
        for name, argument in inspect.signature(type(part)).parameters.items():
            swallowed = argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
            assert not swallowed, (
                f"'{name}' swallows arguments: name and type each, they are the configuration"
            )
            assert argument.annotation is not argument.empty, f"argument '{name}' has no type"
            assert getattr(part, name, missing) is not missing, f"argument '{name}' is not stored as .{name}"
        given = {name: getattr(part, name) for name in inspect.signature(type(part)).parameters}
        twin = type(part)(**given)
        changed = [name for name, value in given.items() if getattr(twin, name) != value]
        assert not changed, f"the constructor does not store what it is given: {', '.join(changed)}"


def _doubtful(kind: Any) -> list[Any]:
    """Values that a constructor may refuse, of the right type or nearly so."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Annotated, Union, types.UnionType):
        return [value for part in inner for value in _doubtful(part)]
    if origin is Literal:
        return ["no such choice"]
    if origin in (list, Sequence) and inner == (str,):
        return [["no such name"], []]
    numbers: dict[Any, list[Any]] = {int: [-2, 0, 10**6], float: [-2.0, 0.0, 1e6, math.nan]}
    return numbers.get(kind, [])
