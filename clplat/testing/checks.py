"""Comparisons that several contracts need."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
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


def said(part: Any) -> str:
    """A part with its arguments, and with those of the parts inside it."""
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(said, part))}]"
    if not hasattr(part, "state_dict"):
        return repr(part)
    given = (f"{name}={said(getattr(part, name))}" for name in inspect.signature(type(part)).parameters)
    return f"{type(part).__qualname__}({', '.join(given)})"


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
