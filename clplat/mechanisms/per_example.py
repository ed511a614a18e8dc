"""What a model puts out of each example of a batch: rows, how far they moved, losses."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.data.batch import Batch
from clplat.mechanisms.examples import labels_of
from clplat.models.outputs import as_outputs

__all__ = ["among_own_classes", "losses_of", "rows_of", "squared_distances"]


class _Judges(Protocol):
    """What a loss over fewer classes asks of the loop."""

    def task_loss(self, batch: Any, outputs: Any) -> Tensor: ...


def rows_of(outputs: Any) -> list[Tensor]:
    """One row per example: of queries and of targets where the outputs are embeddings, else the outputs."""
    made = as_outputs(outputs)
    return [made] if isinstance(made, Tensor) else [made.query, made.candidates[: len(made.query)]]


def squared_distances(new: Tensor, old: Tensor) -> Tensor:
    """Squared distances (B,) of rows; what a head has grown by since, or had not then (NaN), is left out.

    Example:
        >>> squared_distances(torch.tensor([[3.0, 1.0, 5.0]]), torch.tensor([[1.0, torch.nan]]))
        tensor([4.])
    """
    new = new[:, : old.shape[1]] if old.ndim == 2 else new
    return torch.where(old.isnan(), 0.0, new - old).square().flatten(1).sum(1)


def losses_of(batch: Any, outputs: Any) -> Tensor:
    """The cross-entropy (B,) of each example: of its class, or of its target among all candidates.

    Other right answers of a query, where a `Batch` knows them, count neither as target nor as wrong.

    Raises:
        TypeError: logits, and a batch without classes.

    Example:
        >>> losses_of((torch.zeros(1, 3), torch.tensor([0])), torch.tensor([[0.0, 0.0]]))
        tensor([0.6931])
    """
    made = as_outputs(outputs)
    if isinstance(made, Tensor):
        if (classes := labels_of(batch)) is None:
            raise TypeError("the loss of each example needs batches (x, y, ...) with integer classes y")
        return F.cross_entropy(made, classes.to(made.device), reduction="none")
    scores = made.scores(scale=made.scale)
    own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    if isinstance(batch, Batch):
        left_out = (batch.positive | ~batch.valid).to(scores.device) & ~own
        scores = scores.masked_fill(left_out, -torch.inf)
    return -scores.log_softmax(1).diagonal()


def among_own_classes(learner: _Judges, batch: Any, logits: Tensor) -> Tensor:
    """What the task's loss is less, where only classes of the batch compete: added to it, it leaves those.

    Logits of other classes have no gradient then, so that new examples cannot lower them.

    Raises:
        TypeError: a batch without classes.
    """
    if (classes := labels_of(batch)) is None:
        raise TypeError(
            "a loss among the classes of a batch needs batches (x, y, ...) with integer classes y"
        )
    present = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    present[classes] = True
    own = logits.masked_fill(~present, torch.finfo(logits.dtype).min)
    return learner.task_loss(batch, own) - learner.task_loss(batch, logits)
