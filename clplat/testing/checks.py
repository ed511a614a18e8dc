"""Comparisons that several contracts need."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import torch
from torch import Tensor, nn

from clplat.config.options import arguments

__all__ = [
    "check_constructor",
    "check_docstring",
    "check_refusals",
    "declared",
    "difference",
    "generator_untouched",
    "marked_generator",
    "said",
    "trainable",
    "weights",
]


def declared(contract: Any, part: Any, tag: str) -> Any:
    """What a part says of itself, unless the class of its contract tests says otherwise."""
    own = getattr(contract, tag)
    return getattr(part, tag) if own is None else own


@contextmanager
def marked_generator() -> Iterator[Tensor]:
    """Inside, torch's generator is in a state that no seed gives, so that seeding shows as drawing does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.rand(1)
        yield torch.get_rng_state()


@contextmanager
def generator_untouched(otherwise: str) -> Iterator[None]:
    """Fail with this message where the block draws from torch's generator, or seeds it."""
    with marked_generator() as state:
        yield
        assert torch.equal(torch.get_rng_state(), state), otherwise


def check_constructor(part: Any) -> None:
    """The constructor's arguments are typed, named one by one and kept under their own names."""
    missing = object()
    for name, argument in inspect.signature(type(part)).parameters.items():
        swallowed = argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
        assert not swallowed, f"'{name}' swallows arguments: name and type each, they are the configuration"
        assert argument.annotation is not argument.empty, f"argument '{name}' has no type"
        assert getattr(part, name, missing) is not missing, f"argument '{name}' is not stored as .{name}"
    given = {name: getattr(part, name) for name in inspect.signature(type(part)).parameters}
    twin = type(part)(**given)
    changed = [name for name, value in given.items() if getattr(twin, name) != value]
    assert not changed, f"the constructor does not store what it is given: {', '.join(changed)}"


def said(part: Any) -> str:
    """A part with its arguments, and with those of the parts inside it."""
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(said, part))}]"
    if not hasattr(part, "state_dict"):
        return repr(part)
    given = (f"{name}={said(getattr(part, name))}" for name in inspect.signature(type(part)).parameters)
    return f"{type(part).__qualname__}({', '.join(given)})"


def check_docstring(part: Any) -> None:
    """The class says in one line what it is, and explains every argument of its constructor."""
    text = inspect.cleandoc(type(part).__doc__ or "")
    line = text.partition("\n")[0]
    assert line, f"{type(part).__name__} has no docstring"
    assert line.endswith((".", ":")), f"the docstring's first line is no sentence: {line!r}"
    arguments = inspect.signature(type(part)).parameters.values()
    named = [a.name for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
    silent = [name for name in named if f"    {name}" not in text]
    assert not silent, f"the docstring's Args do not explain: {', '.join(silent)}"


def check_refusals(part: Any) -> None:
    """A wrong value is refused by a `ValueError`, which the configuration completes with the part's name."""
    made: Callable[..., Any] = type(part)
    required = {
        argument.name: getattr(part, argument.name) for argument in arguments(made) if argument.required
    }
    for argument in arguments(made):
        for value in _doubtful(argument.type):
            try:
                made(**{**required, argument.name: value})
            except ValueError:
                pass
            except Exception as error:
                raised = f"{argument.name}={value!r} raises {type(error).__name__}"
                raise AssertionError(f"{raised}: a constructor refuses a value by ValueError") from error


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


def trainable(model: nn.Module) -> list[str]:
    """Names of the parameters that are trained."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers, by name."""
    return {name: value.detach().clone() for name, value in model.state_dict(keep_vars=True).items()}


def difference(one: Any, two: Any, path: str = "", tolerance: float = 0.0) -> str:
    """Where two trees of tensors and plain values first differ, in words; empty for trees of equal bits.

    Args:
        tolerance: of tensors of numbers, a share of the largest one; 0 compares bits.
    """
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return "" if _same(one, two, tolerance) else path or "the tensor"
    if type(one) is not type(two):
        return f"{path}: {type(one).__name__} and {type(two).__name__}"
    if isinstance(one, dict):
        if list(one) != list(two):
            return f"{path}: keys {list(one)[:5]} and {list(two)[:5]}"
        parts = [difference(one[key], two[key], f"{path}.{key}".lstrip("."), tolerance) for key in one]
        return next(filter(None, parts), "")
    if isinstance(one, list | tuple):
        if len(one) != len(two):
            return f"{path}: {len(one)} and {len(two)} entries"
        pairs = enumerate(zip(one, two, strict=True))
        return next(filter(None, (difference(a, b, f"{path}[{i}]", tolerance) for i, (a, b) in pairs)), "")
    return "" if one == two else f"{path}: {one!r} and {two!r}"


def _same(one: Tensor, two: Tensor, tolerance: float) -> bool:
    if one.dtype != two.dtype or one.shape != two.shape:
        return False
    if not tolerance or not one.is_floating_point() or not one.numel():
        return torch.equal(one, two)
    return bool((one - two).abs().max() <= tolerance * two.abs().max())
