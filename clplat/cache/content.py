"""What a part of a model computes, as a digest: its code, its plain attributes and its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from clplat.cache.unseen import held_in, is_plain
from clplat.models.adapters import AdapterState
from clplat.models.hashes import Hashes

__all__ = ["Part", "content_digest", "content_of", "is_stochastic", "is_stochastic_now"]

#: A named module or tensor of a tower, see `Backbone.stages`.
Part: TypeAlias = tuple[str, nn.Module | Tensor]

_NO_CONTENT = {"training", "_parameters", "_buffers", "_modules", "_is_full_backward_hook"}


def content_of(parts: Sequence[Part], adapters: AdapterState) -> list[tuple[str, Tensor | str]]:
    """Everything that determines what these parts compute, by name.

    A module counts with its class, its plain attributes (rates, scalings, switches), its tensors, and what it
    holds of other modules; what cannot be told this way, `clplat.cache.unseen` finds. Nothing of an adapter
    that is not in use counts: a bare base is itself again, whatever was grown beside it.

    Args:
        adapters: around the modules.

    Example:
        >>> [name for name, _ in content_of([("layer", nn.Linear(2, 2))], AdapterState())]
        ['layer', 'layer.weight', 'layer.bias']
    """
    return list(_walk(parts, adapters))


def content_digest(content: Iterable[tuple[str, Tensor | str]], hashes: Hashes) -> str:
    """SHA-256 of what `content_of` gives.

    Args:
        hashes: of tensors that have not changed since.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> content, hashes = content_of([("layer", layer)], AdapterState()), Hashes()
        >>> before = content_digest(content, hashes)
        >>> _ = layer.weight.data.mul_(2)
        >>> content_digest(content, Hashes()) == before
        False
    """
    digest = hashlib.sha256()
    for name, node in content:
        digest.update(f"{name} {hashes.digest(node) if isinstance(node, Tensor) else node}\n".encode())
    return digest.hexdigest()


def is_stochastic(module: nn.Module, adapters: AdapterState) -> bool:
    """Whether this module, in training mode, gives different results for equal inputs."""
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return True
    # Dropout of any kind, open_clip's patch dropout, attention with dropout.
    rates = [getattr(module, name, 0) for name in ("p", "dropout", "prob")]
    return any(isinstance(rate, float) and rate > 0 for rate in rates) or adapters.is_stochastic(module)


def is_stochastic_now(module: nn.Module, adapters: AdapterState) -> bool:
    """Whether a stochastic module is so now: in training mode, or because it mixes the items of a batch."""
    return module.training or adapters.mixes_items(module)


def _walk(parts: Sequence[Part], adapters: AdapterState) -> Iterator[tuple[str, Tensor | str]]:
    walk = _Walk(adapters)
    for name, part in parts:
        if isinstance(part, Tensor):
            yield name, part
        else:
            yield from walk.module(name, part, frozenset())


class _Walk:
    """One walk over modules; what several of them hold in attributes counts once."""

    def __init__(self, adapters: AdapterState) -> None:
        self.adapters = adapters
        self.held: set[int] = set()

    def module(
        self, name: str, module: nn.Module, idle: frozenset[str]
    ) -> Iterator[tuple[str, Tensor | str]]:
        module, own = self.adapters.in_use(module)
        idle |= own
        kind = type(module)
        attributes = {
            k: _without(v, idle) for k, v in vars(module).items() if k not in _NO_CONTENT and is_plain(v)
        }
        yield name, f"{kind.__module__}.{kind.__qualname__} {json.dumps(attributes, sort_keys=True)}"
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and key not in idle:
                yield f"{name}.{key}", tensor
        for key, child in module._modules.items():
            if child is not None and key not in idle:
                yield from self.module(f"{name}.{key}", child, idle)
        if not self.adapters.knows(module):
            yield from self._attributes(name, module, idle)

    def _attributes(
        self, name: str, module: nn.Module, idle: frozenset[str]
    ) -> Iterator[tuple[str, Tensor | str]]:
        """What a module holds without being its parent: another's layer, a constant."""
        for key, value in held_in(module):
            if isinstance(value, nn.Module):
                if id(value) not in self.held:
                    self.held.add(id(value))
                    yield from self.module(f"{name}.{key}", value, idle)
            elif isinstance(value, Tensor):
                yield f"{name}.{key}", value
            else:
                yield f"{name}.{key}", getattr(value, "__qualname__", None) or str(value)


def _without(value: Any, idle: frozenset[str]) -> Any:
    return {k: v for k, v in value.items() if k not in idle} if isinstance(value, dict) else value
