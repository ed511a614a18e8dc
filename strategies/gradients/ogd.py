"""OGD: steps are orthogonal to the gradients of what the model put out for earlier examples."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.example_gradients import example_gradients, logits_of, spread, trained
from clplat.mechanisms.examples import labels_of
from clplat.mechanisms.projection import FreeSteps, new_directions
from clplat.mechanisms.weight_space import leading, padded
from clplat.models.outputs import are_embeddings
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["OGD"]


class OGD(Strategy):
    """Orthogonal gradient descent: to first order, what the model said of stored examples does not change.

    ``g <- g - sum_k <g, b_k> b_k``, with an orthonormal basis b of the gradients of scores: for each example
    that was chosen after its domain, of its score with the right candidate, or of its class's logit.

    The movement of a step is projected as well as its gradient, so that this holds for any optimizer. No
    example is kept; every direction is as large as all trained weights, which suits adapters. It holds to
    first order alone: small steps, without momentum, keep what large ones lose.

    Args:
        examples: of a domain, spread evenly over it; each adds a direction unless earlier ones contain it.
        batch_size: examples whose candidates compete, when their gradients are taken.
        megabytes: of the basis at most. Earlier directions stay; of a domain that does not fit the leading
            ones are taken.

    References:
        Farajtabar et al. 2020, Orthogonal Gradient Descent for Continual Learning, arXiv 1910.07104: its
        variant with one gradient for each example, that of the right logit.

    Needs:
        Labels: batches ``(x, y)`` of a classifier, or outputs with queries and candidates.

    Relations:
        `GPM` keeps directions of each layer's inputs, which are far smaller; `AGEM` and `GEM` keep examples
        and allow steps that agree with them.

    Example:
        >>> from strategies import OGD
        >>> OGD(examples=16).examples
        16
    """

    stores = "statistics"
    reads_data = True
    state = ("_basis",)

    def __init__(
        self,
        examples: Annotated[int, Int(16, 512, log=True)] = 128,
        batch_size: int = 64,
        megabytes: Annotated[float, Float(16.0, 4096.0, log=True)] = 1024.0,
    ) -> None:
        if not (examples >= 1 and batch_size >= 2 and megabytes > 0):
            raise ValueError(
                "examples must be at least 1, batch_size at least 2 and megabytes above 0, "
                f"not {examples}, {batch_size} and {megabytes}"
            )
        self.examples, self.batch_size, self.megabytes = examples, batch_size, megabytes
        self._basis: dict[str, Tensor] = {}  # name -> (directions, ...), one row of each is one direction
        self._free = FreeSteps(self._project)

    def _project(self, changes: dict[str, Tensor]) -> None:
        # In the order of the model, whatever that of a state on disk.
        known = {name: self._basis[name] for name in changes if name in self._basis}
        if not known:
            return
        blocks = {name: leading(changes[name], rows[0]) for name, rows in known.items()}
        along = torch.stack([_flat(rows) @ blocks[n].flatten() for n, rows in known.items()]).sum(0)
        for name, rows in known.items():
            blocks[name].sub_(torch.einsum("k,k...->...", along, rows))

    def after_backward(self, learner: SupportsLearning) -> None:
        if self._basis:
            self._free.before_step(learner.model)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        if self._basis:
            self._free.after_step(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        weights = trained(learner.model)
        data = spread(learner.data(), self.examples)
        made = [*example_gradients(learner, data, self.batch_size, _right_scores)]
        if not made:
            return
        rows = torch.cat([_flat(torch.stack(parts)) for parts in zip(*made, strict=True)], dim=1)
        basis = self._whole(weights)
        room = int(self.megabytes * 2**20 / (rows.shape[1] * rows.element_size()))
        new = new_directions(rows, basis, max(0, room - (0 if basis is None else len(basis))))
        whole = new if basis is None else torch.cat([basis, new])
        pieces = torch.split(whole, [p.numel() for p in weights.values()], dim=1)
        named = zip(weights, pieces, strict=True)
        # Laid out as when it is read from a disk, so that sums have the same bits.
        self._basis = {name: each.contiguous().view(-1, *weights[name].shape) for name, each in named}

    def _whole(self, weights: dict[str, torch.nn.Parameter]) -> Tensor | None:
        """The basis (K, D) over the weights of now: what has grown since, or is new, has zeros."""
        if not self._basis:
            return None
        count = len(next(iter(self._basis.values())))
        rows = {n: self._basis.get(n, p.new_zeros((count, *p.shape))) for n, p in weights.items()}
        grown = [padded(rows[n], torch.Size((count, *p.shape))) for n, p in weights.items()]
        return torch.cat([_flat(each) for each in grown], dim=1)


def _flat(rows: Tensor) -> Tensor:
    """(K, D) of (K, ...), also of scalars such as a logit scale."""
    return rows.reshape(len(rows), -1)


def _right_scores(batch: Any, outputs: Any) -> Tensor:
    """The score (B,) of each example with its class, or with its target."""
    logits = logits_of(batch, outputs)
    if are_embeddings(outputs):
        return logits.diagonal()
    if (labels := labels_of(batch)) is None:
        raise TypeError("ogd needs batches (x, y, ...) with integer classes y")
    return logits.gather(1, labels.to(logits.device)[:, None])[:, 0]
