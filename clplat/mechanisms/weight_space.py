"""Weights as one space: what a model computes with, whatever adapters make it of, read and moved.

An adapter's factors are no coordinates of this space: half of B times half of A is a quarter of BA. So the
weights of a layer with an adapter are read as the sum of both, and moved by what is added to the base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.mechanisms.teacher import moving, snapshot
from clplat.models.adapters import AdapterState
from clplat.models.names import named_buffers, named_parameters

__all__ = ["grown", "interpolate", "leading", "padded", "point_of", "set_weights", "weights_of"]


def leading(tensor: Tensor, earlier: Tensor) -> Tensor:
    """The block of a tensor that it had when it was of an earlier shape (a view): a head grows behind it.

    Raises:
        UserError: the tensor has become smaller.

    Example:
        >>> leading(torch.arange(6).reshape(3, 2), torch.zeros(2, 2)).tolist()
        [[0, 1], [2, 3]]
    """
    if tensor.shape == earlier.shape:
        return tensor
    if tensor.dim() != earlier.dim() or any(a < b for a, b in zip(tensor.shape, earlier.shape, strict=True)):
        was, now = tuple(earlier.shape), tuple(tensor.shape)
        raise UserError(f"a weight of shape {was} has become {now}: only growth can be followed")
    return tensor[tuple(slice(size) for size in earlier.shape)]


def padded(earlier: Tensor, shape: torch.Size) -> Tensor:
    """An earlier, smaller tensor at the front of zeros of the shape that it has grown to."""
    if earlier.shape == shape:
        return earlier
    grown = earlier.new_zeros(shape)
    leading(grown, earlier).copy_(earlier)
    return grown


@torch.no_grad()
def grown(earlier: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Earlier weights, and what their tensors have grown by since as it is now: a new row begins there.

    Example:
        >>> head = nn.Linear(1, 2, bias=False)
        >>> _ = nn.init.constant_(head.weight, 3.0)
        >>> grown({"weight": torch.ones(1, 1)}, head)["weight"].tolist()
        [[1.0], [3.0]]
    """
    held = {**dict(named_parameters(model)), **dict(named_buffers(model))}
    whole = dict(earlier)
    for name, tensor in earlier.items():
        if name in held and held[name].shape != tensor.shape:
            whole[name] = held[name].detach().clone()
            leading(whole[name], tensor).copy_(tensor)
    return whole


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights that training changes, and of the buffers that move, by name.

    A layer with an adapter counts with the sum of base and adapter, under the name it has without one.
    """
    held = {name: t.detach().clone() for name, t in moving(model, statistics=True).items()}
    for prefix, network, adapters in _adapted(model):
        for factor in adapters.factors(network):
            held.pop(prefix + factor, None)
        held |= _effective(prefix, network, adapters)
    return held


@torch.no_grad()
def set_weights(model: nn.Module, target: Mapping[str, Tensor]) -> None:
    """Move a model to these weights, named as by `weights_of`; of a tensor that has grown, its old block.

    What an adapter makes of a layer stays, and the difference is added to the base.

    Raises:
        UserError: an adapter's layers are no sum of base and adapter, so that they cannot be moved.
    """
    left = dict(target)
    for prefix, network, adapters in _adapted(model):
        now = _effective(prefix, network, adapters)
        moves = {name.removeprefix(prefix): left.pop(name) - now[name] for name in now if name in left}
        adapters.absorb(network, moves)
    held = {**dict(named_parameters(model)), **dict(named_buffers(model))}
    for name, value in left.items():
        if name not in held:
            raise UserError(f"the model does not have '{name}' any more")
        leading(held[name], value).copy_(value)


def point_of(model: nn.Module) -> dict[str, Tensor]:
    """`weights_of` and the adapters' own tensors: where `interpolate` starts from."""
    return snapshot(model, statistics=True) | weights_of(model)


@torch.no_grad()
def interpolate(model: nn.Module, start: Mapping[str, Tensor], share: float) -> None:
    """Move a model to ``(1 - share) * start + share * what it is``, exactly where ``share`` is 0 or 1.

    Where interpolating an adapter's own tensors interpolates the weights, as of scales and norms, that is
    done; else the difference goes into the base. Counters (integer buffers) stay, except that a share of 0
    puts back all of ``start``.

    Args:
        model: any module.
        start: from `point_of`.
        share: of what the model is.
    """
    now, target = weights_of(model), {}
    for name, earlier in start.items():
        if name in now and (earlier.is_floating_point() or share == 0):
            own = leading(now[name], earlier)
            target[name] = torch.lerp(earlier, own, share) if earlier.is_floating_point() else earlier
    for prefix, network, adapters in _adapted(model):
        factors = {p: start[prefix + f] for f, p in _factors(network, adapters) if prefix + f in start}
        kept = {parameter: parameter.detach().clone() for parameter in factors}
        for parameter, earlier in factors.items():
            parameter.copy_(torch.lerp(earlier, parameter, share))
        made = _effective(prefix, network, adapters)
        if all(name in target and _there(tensor, target[name], now[name]) for name, tensor in made.items()):
            target = {name: tensor for name, tensor in target.items() if name not in made}
            continue
        for parameter, tensor in kept.items():
            parameter.copy_(tensor)
    set_weights(model, target)


def _factors(network: nn.Module, adapters: AdapterState) -> list[tuple[str, nn.Parameter]]:
    """The adapters' own tensors, by name."""
    own = adapters.factors(network)
    return [(name, parameter) for name, parameter in network.named_parameters() if name in own]


def _there(made: Tensor, target: Tensor, before: Tensor) -> bool:
    """Whether a weight came to its target, by rounding or by a thousandth of its way."""
    return bool((made - target).abs().max() <= 1e-7 + 1e-3 * (target - before).abs().max())


def _effective(prefix: str, network: nn.Module, adapters: AdapterState) -> dict[str, Tensor]:
    """The weights of the layers with adapters: base and what is added to it."""
    base = {adapters.base_key(key): p.detach() for key, p in network.named_parameters()}
    return {prefix + key: base[key] + delta for key, delta in adapters.deltas(network).items()}


def _adapted(model: nn.Module) -> Iterator[tuple[str, nn.Module, AdapterState]]:
    """Each network inside a model around whose layers there are adapters, with the start of its names."""
    for path, module in model.named_modules():
        adapters = getattr(module, "adapters", None)
        if isinstance(adapters, AdapterState) and adapters.active is not None:
            network = module.model
            assert isinstance(network, nn.Module)
            yield f"{path}.model." if path else "model.", network, adapters
