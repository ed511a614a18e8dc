"""A network that carries stored gallery vectors, with side vectors beside them, into the new space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.parts.projections._base import Pairs, Projection
from clplat.parts.projections._fitting import checked_pairs, register_matrix
from clplat.parts.projections.procrustes import orthogonal_map

__all__ = ["SideNetwork"]

_NAME = "the side_network projection"


class SideNetwork(Projection):
    """Stored vectors x and side vectors s to the new space: ``y = n(x R + relu([x, s] A + a) B)``.

    The gallery is updated without its pictures: new queries search mapped old vectors. The side vectors hold
    what the old model did not keep; they are stored beside the gallery from the day of indexing, which takes
    their width more per picture (``bytes_per_item`` does not count it). R is the rotation from old to new, B
    starts at zero; A, a and B are trained on ``mean ||y - new||^2``.

    Args:
        hidden: width of the layer between.
        steps: of Adam.
        lr: learning rate, falling to 0 along a cosine.
        batch_size: pairs per step, all of them where there are fewer.
        side: ``base``: the untrained model's vectors; ``none``: nothing is stored beside the gallery.
        seed: of the first weights and of the batches; None is 0.

    Raises:
        ValueError: a setting out of range.

    Reference:
        Ramanujan et al., "Forward Compatible Training for Large-Scale Embedding Retrieval Systems", CVPR
        2022, arXiv:2112.02805.

    Example:
        >>> new, old = torch.eye(4), torch.eye(4).flip(0)
        >>> projection = SideNetwork(hidden=4, steps=10, side="none")
        >>> projection.fit(new, old)
        >>> (projection(old) @ new.T).argmax(1)
        tensor([0, 1, 2, 3])
    """

    maps: Literal["query", "gallery"] = "gallery"
    rotation: Tensor
    first: Tensor
    shift: Tensor
    second: Tensor

    def __init__(
        self,
        hidden: int = 256,
        steps: Annotated[int, Int(50, 2000, log=True)] = 200,
        lr: Annotated[float, Float(1e-4, 1e-2, log=True)] = 5e-4,
        batch_size: int = 512,
        side: Literal["base", "none"] = "base",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= hidden <= 1 << 16 or steps < 0 or batch_size < 1 or not lr > 0:
            raise ValueError(
                "needs hidden from 1 to 65536, steps >= 0, batch_size >= 1 and lr > 0, not "
                f"{hidden}, {steps}, {batch_size} and {lr}"
            )
        if side not in ("base", "none"):
            raise ValueError(f"side must be 'base' or 'none', not '{side}'")
        self.hidden, self.steps, self.lr, self.batch_size = hidden, steps, lr, batch_size
        self.side, self.seed = side, seed
        self.stores = frozenset({side} - {"none"})
        register_matrix(self, "rotation", "first", "shift", "second")

    def learn(self, pairs: Pairs) -> None:
        """From the pictures by both versions, and by the side encoder."""
        new, old = pairs.pictures()
        self._learn(new, old, torch.cat([old, *(pairs.side(name) for name in self.stores)], dim=1))

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Train on N pairs without side vectors, on the CPU; works under ``no_grad`` too.

        Raises:
            UserError: rows that are no pairs, none, or not finite.
        """
        self._learn(new, old, old)

    def _learn(self, new: Tensor, old: Tensor, seen: Tensor) -> None:
        # An evaluator may call this in inference mode, whose tensors autograd refuses: leave it and copy.
        with torch.inference_mode(False), torch.enable_grad():
            y, x = checked_pairs(new.clone(), old.clone(), _NAME)
            rotation = orthogonal_map(x, y)
            weights = self._train(
                normalize(y, dim=1), normalize(x, dim=1), seen.clone().double().cpu(), rotation
            )
            self.rotation, self.first, self.shift, self.second = (
                tensor.detach().to(self.rotation) for tensor in (rotation, *weights)
            )

    def _train(self, y: Tensor, x: Tensor, seen: Tensor, rotation: Tensor) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed or 0)
        width = seen.shape[1]
        first = torch.randn(width, self.hidden, generator=generator).double().mul_((2 / width) ** 0.5)
        weights = [first, x.new_zeros(self.hidden), x.new_zeros(self.hidden, y.shape[1])]
        for weight in weights:
            weight.requires_grad_()
        optimizer = torch.optim.Adam(weights, lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.steps))
        for _ in range(self.steps):
            rows = torch.randperm(len(x), generator=generator)[: self.batch_size]
            mapped = _mapped(x[rows], seen[rows], rotation, *weights)
            loss = (mapped - y[rows]).square().sum(1).mean()
            if float(loss.detach()) < 1e-12:
                break  # Adam would blow up what is left, rounding errors
            for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.grad = grad
            optimizer.step()
            schedule.step()
        return weights

    def map(self, x: Tensor, stored: Mapping[str, Tensor]) -> Tensor:
        """Map a gallery (G, D_old) with its side vectors."""
        x = normalize(x.float(), dim=-1)
        return self._carried(
            x, x if self.side == "none" else torch.cat([x, stored[self.side].float()], dim=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D_old) without side vectors to (B, D_new) unit rows; UserError before it is fitted."""
        x = normalize(x.float(), dim=-1)
        return self._carried(x, x)

    def _carried(self, x: Tensor, seen: Tensor) -> Tensor:
        if self.rotation.numel() == 0:
            raise UserError(f"{_NAME} is not fitted yet: let it learn, or load a fitted one")
        if seen.shape[1] != len(self.first):
            raise UserError(f"{_NAME} was fitted for rows of width {len(self.first)}, not {seen.shape[1]}")
        return _mapped(x, seen, self.rotation, self.first, self.shift, self.second)


def _mapped(
    x: Tensor, seen: Tensor, rotation: Tensor, first: Tensor, shift: Tensor, second: Tensor
) -> Tensor:
    return normalize(x @ rotation + torch.relu(seen @ first + shift) @ second, dim=-1)
