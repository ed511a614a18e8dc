"""A linear map trained so that each new embedding finds its own old one among all old ones."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from clplat.config.space import Choice, Float, Int
from clplat.parts.projections._base import Pairs, Projection
from clplat.parts.projections._fitting import apply_matrix, checked_pairs, register_matrix
from clplat.parts.projections.procrustes import orthogonal_map

__all__ = ["Linear", "off_rotation"]


class Linear(Projection):
    """A linear map ``y = n(x W)`` trained by gradient descent to serve retrieval, not only to fit.

    ``loss = mean_i (1 - cos(y_i, o_i)) + contrast mean_i -log softmax_j(cos(y_i, o_j) / temperature)_i`` over
    batches of pairs: every new embedding is pulled to its own old one and must find it among the others',
    which is the ranking in an old index. ``orthogonality`` adds that weight times
    ``relu(||W'W - I||_F - slack)``: W may leave the rotations by as much as ``slack``, so that it adapts and
    still keeps the similarities among new embeddings, nearly.

    Args:
        steps: of Adam.
        lr: learning rate, falling to 0 along a cosine.
        temperature: of the contrast; small looks at the nearest wrong candidates only.
        contrast: weight of the contrastive term; 0 leaves the cosine alone.
        start: where training begins; with few pairs it stays near.
        batch_size: pairs per step, all of them where there are fewer.
        seed: of the batches; None is 0.
        orthogonality: weight of what keeps W near a rotation; 0 leaves it free.
        slack: how far it may be from one before that costs anything.
        pairs: the training data that are paired: pictures, texts alone, or composed queries.

    Raises:
        ValueError: a setting out of range.

    Reference:
        The contrastive term is the "contra" loss of Zhang et al., "Hot-Refresh Model Upgrades with
        Regression-Alleviating Compatible Training", ICLR 2022, arXiv:2201.09724, on a frozen new model.
        Orthogonality within a slack: Ricci et al., "lambda-Orthogonality Regularization for Compatible
        Representation Learning", NeurIPS 2025, arXiv:2509.16664. Texts alone: Jang and Lim, "Towards
        Cross-modal Backward-compatible Representation Learning for Vision-Language Models", arXiv:2405.14715.

    Example:
        >>> new, old = torch.eye(4), torch.eye(4).flip(0)
        >>> projection = Linear(steps=20)
        >>> projection.fit(new, old)
        >>> (projection(new) @ old.T).argmax(1)
        tensor([0, 1, 2, 3])
    """

    matrix: Tensor

    def __init__(
        self,
        steps: Annotated[int, Int(50, 2000, log=True)] = 100,
        lr: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
        contrast: Annotated[float, Float(0.0, 2.0)] = 0.1,
        start: Annotated[Literal["procrustes", "identity"], Choice("procrustes", "identity")] = "procrustes",
        batch_size: int = 512,
        seed: int | None = None,
        orthogonality: float = 0.0,
        slack: float = 0.0,
        pairs: Literal["pictures", "texts", "queries"] = "pictures",
    ) -> None:
        super().__init__()
        if start not in ("procrustes", "identity"):
            raise ValueError(f"start must be 'procrustes' or 'identity', not '{start}'")
        if steps < 0 or batch_size < 1 or not (lr > 0 and temperature > 0 and contrast >= 0):
            raise ValueError(
                "needs steps >= 0, batch_size >= 1, lr > 0, temperature > 0 and "
                f"contrast >= 0, not {steps}, {batch_size}, {lr}, {temperature} and {contrast}"
            )
        if not (orthogonality >= 0 and slack >= 0):
            raise ValueError(f"orthogonality and slack must be at least 0, not {orthogonality} and {slack}")
        if pairs not in ("pictures", "texts", "queries"):
            raise ValueError(f"pairs must be 'pictures', 'texts' or 'queries', not '{pairs}'")
        self.orthogonality, self.slack = orthogonality, slack
        self.pairs, self.reads = pairs, frozenset({pairs})
        self.steps, self.lr, self.batch_size = steps, lr, batch_size
        self.temperature, self.contrast = temperature, contrast
        self.start, self.seed = start, seed
        register_matrix(self)

    def learn(self, pairs: Pairs) -> None:
        """From the data that ``pairs`` names."""
        chosen = {"pictures": pairs.pictures, "texts": pairs.texts, "queries": pairs.queries}
        self.fit(*chosen[self.pairs]())

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Train W on N pairs, on the CPU; works under ``no_grad`` too.

        Raises:
            UserError: rows that are no pairs, none, or not finite.
        """
        # An evaluator may call this in inference mode, whose tensors autograd refuses: leave it and copy.
        with torch.inference_mode(False), torch.enable_grad():
            x, y = checked_pairs(new.clone(), old.clone(), "the linear projection")
            if self.start == "procrustes":
                first = orthogonal_map(x, y)
            else:
                first = torch.zeros(x.shape[1], y.shape[1], dtype=x.dtype).fill_diagonal_(1.0)
            trained = self._train(first.float(), x.float(), normalize(y.float(), dim=1))
            self.matrix = trained.to(self.matrix)

    def _train(self, matrix: Tensor, x: Tensor, y: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed or 0)
        matrix = matrix.clone().requires_grad_()
        optimizer = torch.optim.Adam([matrix], lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.steps))
        for _ in range(self.steps):
            rows = torch.randperm(len(x), generator=generator)[: self.batch_size]
            cosines = normalize(x[rows] @ matrix, dim=1) @ y[rows].T
            loss = (1.0 - cosines.diagonal()).mean()
            loss = loss + self.contrast * cross_entropy(cosines / self.temperature, torch.arange(len(rows)))
            if self.orthogonality:
                loss = loss + self.orthogonality * torch.relu(off_rotation(matrix) - self.slack)
            (matrix.grad,) = torch.autograd.grad(loss, [matrix])
            optimizer.step()
            schedule.step()
        return matrix.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D_new) to (B, D_old) unit rows; UserError before `fit`."""
        return apply_matrix(x, self.matrix, "the linear projection")


def off_rotation(matrix: Tensor) -> Tensor:
    """``||W'W - I||_F`` of W (D_new, D_old), or ``||W W' - I||_F`` where the new space is narrower."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = tall.T @ tall
    # Not a norm, whose gradient at a rotation, 0, would be NaN.
    square = (gram - torch.eye(len(gram), dtype=gram.dtype)).square().sum()
    return (square + 1e-12).sqrt()
