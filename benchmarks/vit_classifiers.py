"""Ours beside RanPAC and SLCA: features of the transformer of `benchmarks.vit`, and all of it trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.side_by_side import MOMENTUM, accuracy, ours, stream
from benchmarks.vit import EPOCHS, System, classes, pictures, tower
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.postprocessors.random_projection import RandomProjection

__all__ = ["Classifier", "projected", "slowly"]


class Classifier(nn.Module):
    """The transformer, all of it to be trained, and the last layer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.backbone = tower()
        self.classes = classes(seed)
        visual = self.backbone.model.visual
        for parameter in visual.parameters():
            parameter.requires_grad_(parameter is not visual.proj)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classes(self.backbone.image(pictures(x)).pooled)
        return found


def slowly(make: Callable[[], System], name: str, seed: int, **_: Any) -> float:
    """Accuracy of a strategy on all of the transformer, at a hundredth of the last layer's rate (SLCA)."""
    system = make()

    def build(_: str, seed: int) -> tuple[Any, torch.optim.Optimizer]:
        model = Classifier(seed)
        below = [p for p in model.backbone.parameters() if p.requires_grad]
        slow = {"params": below, "lr": 0.01 * system.rate}
        groups: list[Any] = [{"params": [*model.classes.parameters()]}, slow]
        return model, torch.optim.SGD(groups, lr=system.rate, momentum=MOMENTUM)

    return ours(lambda: system.strategy, name, seed, epochs=EPOCHS, build=build)


def projected(make: Callable[[], RandomProjection], name: str, _: int, **__: Any) -> float:
    """Accuracy of a gallery of all training pictures: a class has the sum of its pictures' scores.

    Nothing is trained, so that the order of a stream changes nothing.
    """
    part, backbone = make(), tower()
    x, y = (torch.cat([train.tensors[side] for train, _ in stream(name)]) for side in (0, 1))
    with torch.no_grad():
        held = backbone.image(pictures(x)).pooled
        part.fit(Banks(held, held))

        def predict(asked: Tensor) -> Tensor:
            rows, items = part.map(Scored(backbone.image(pictures(asked)).pooled), Scored(held))
            return rows @ items.T @ nn.functional.one_hot(y).float()

        return accuracy(predict, name)
