"""What reaches the trained layers of a model, as the sum of outer products of their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from clplat.mechanisms.example_gradients import Passes
from clplat.models.names import bare_name

__all__ = ["covariances_at", "input_covariances"]


def input_covariances(learner: Passes, data: Any, batch_size: int) -> dict[str, Tensor]:
    """``sum x x^T`` (D, D) over all inputs of each trained linear or convolutional weight, by its name.

    Every token of every picture and text is an input; of a convolution every patch under its kernel. Weights
    that are no such layer's, or that a pass does not reach, have none.

    Args:
        learner: whose model is looked at, in evaluation mode.
        data: of one experience.
        batch_size: of the pass.

    Example:
        >>> import torch
        >>> from clplat.training.learner import Learner
        >>> layer = nn.Linear(2, 1)
        >>> learner = Learner(layer, predict_fn=layer, collate_fn=torch.stack)
        >>> input_covariances(learner, [torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])], 2)["weight"]
        tensor([[1., 2.],
                [2., 5.]])
    """
    layers = {
        bare_name(f"{path}.weight" if path else "weight"): module
        for path, module in learner.model.named_modules()
        if _takes_rows(module) and module.weight.requires_grad
    }
    return covariances_at(learner, layers, data, batch_size)


def covariances_at(
    learner: Passes, layers: Mapping[str, nn.Module], data: Any, batch_size: int
) -> dict[str, Tensor]:
    """``sum x x^T`` (D, D) over all inputs that these layers get, by the names that they are given here.

    Args:
        learner: as of `input_covariances`.
        layers: modules of its model whose first input is rows (..., D), or convolutions.
        data, batch_size: of the pass. Layers that it does not reach have none.
    """
    found: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def note(_: nn.Module, given: tuple[Any, ...]) -> None:
            rows = _rows(module, given[0].detach()).float()
            found[name] = found[name] + rows.T @ rows if name in found else rows.T @ rows

        return module.register_forward_pre_hook(note)

    hooks = [watch(name, module) for name, module in layers.items()]
    try:
        for _ in learner.passes(data, batch_size):
            pass
    finally:
        for hook in hooks:
            hook.remove()
    return dict(zip(found, learner.averaged([*found.values()]), strict=True))


def _takes_rows(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def _rows(module: nn.Module, x: Tensor) -> Tensor:
    """The inputs (N, D) of a layer whose weight, as a matrix, is (out, D)."""
    if isinstance(module, nn.Conv2d) and not isinstance(module.padding, str):
        patches = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)
        return patches.transpose(1, 2).flatten(0, 1)
    return x.reshape(-1, x.shape[-1])
