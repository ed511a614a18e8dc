"""What decides about a tower's output and stands in none of its tensors and plain attributes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clplat.models.adapters import AdapterState

__all__ = ["altered", "held_in", "is_plain", "modules_of", "unseen"]

#: Of every module: containers of its own, which are walked, and hooks, which are looked at by themselves.
_OWN = vars(nn.Module()).keys() | {"_compiled_call_impl"}


def unseen(modules: Iterable[tuple[str, nn.Module]], adapters: AdapterState) -> Iterator[str]:
    """Why what these modules compute cannot be told from their code, plain attributes and tensors, in words.

    A forward hook, a method that was replaced, a closure or any other object in an attribute: each may read
    weights that no digest knows.

    Args:
        modules: by name; each is looked at by itself, without its children.
        adapters: around the modules; what their own layers hold is known.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> _ = layer.register_forward_hook(lambda module, given, out: 2 * out)
        >>> list(unseen([("layer", layer)], AdapterState()))
        ['a forward hook on layer']
    """
    for name, module in modules:
        yield from altered(name, module)
        if adapters.knows(module):
            continue
        for key, value in vars(module).items():
            if key not in _OWN and not _replaces(module, key, value) and not _is_visible(value):
                yield f"{name}.{key} is a {type(value).__name__}"


def altered(name: str, module: nn.Module) -> Iterator[str]:
    """Hooks and replaced methods of one module, in words."""
    if module._forward_hooks or module._forward_pre_hooks:
        yield f"a forward hook on {name}"
    for key, value in vars(module).items():
        if _replaces(module, key, value):
            yield f"{name}.{key} was replaced"
    if not _is_of_its_class(type(module)):
        yield f"{name}.forward was replaced in its class"


def modules_of(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """This module and all below it, by name, those that are only held in attributes included."""
    met: set[int] = set()

    def walk(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in met:
            return
        met.add(id(module))
        yield name, module
        for key, child in (*module._modules.items(), *held_in(module)):
            if isinstance(child, nn.Module):
                yield from walk(f"{name}.{key}", child)

    yield from walk(name, module)


def held_in(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a module holds in attributes beside plain values, by name: modules, tensors, anything else."""
    for key, value in vars(module).items():
        if key not in _OWN and not is_plain(value):
            yield from _leaves(key, value)


def is_plain(value: Any) -> bool:
    """Whether this is a number, a text, or a list or mapping of those."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}", part)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _leaves(f"{name}.{i}", part)
    else:
        yield name, value


def _is_visible(value: Any) -> bool:
    return all(
        is_plain(leaf) or isinstance(leaf, nn.Module | Tensor | torch.dtype | torch.device) or _is_named(leaf)
        for _, leaf in _leaves("", value)
    )


def _is_named(value: Any) -> bool:
    """Whether this is a class or function that its name stands for: of a module, without a closure."""
    home = sys.modules.get(getattr(value, "__module__", None) or "")
    return getattr(home, getattr(value, "__qualname__", ""), None) is value


def _replaces(module: nn.Module, key: str, value: Any) -> bool:
    return key not in _OWN and callable(value) and callable(getattr(type(module), key, None))


def _is_of_its_class(kind: type[nn.Module]) -> bool:
    """Whether the forward pass was written where the class was, or one that it extends."""
    return any(base.__module__ == kind.forward.__module__ for base in kind.__mro__)
