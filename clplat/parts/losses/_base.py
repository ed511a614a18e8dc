"""The contract of a loss: what a model is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.progress import Progress

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.models.view import Towers

__all__ = ["Loss", "NoLoss"]


@dataclass
class _Pairs:
    """What a loss asks of a `Batch`, where there are only embeddings."""

    positive: Tensor
    valid: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.positive)


class Loss(nn.Module):
    """Outputs of a batch -> what is minimised, in full precision also where the towers use less.

    Weights are trained with the learning rate of the head and, like buffers, are in every checkpoint; they
    are no part of the model that is deployed. Layers whose width depends on the model are made in `attach`.

    What a loss computes is best a function of scores and masks as well, as `info_nce` is: strategies and
    other code use that.
    """

    #: What it reads of `Outputs` beyond queries, candidates and scale: names of parts, of which a retriever
    #: gives ``"candidate_tokens"`` where its loss wants them, or ``"teacher"``, which only strategies give.
    wants: ClassVar[frozenset[str]] = frozenset()
    #: It is a function of queries and candidates; False: of what it wants alone.
    compares: ClassVar[bool] = True
    #: It does not ask for the answers alone, so that the right answers need not be what costs least.
    soft: ClassVar[bool] = False

    def __init__(self) -> None:  # torch's own swallows arguments, and arguments are the configuration
        super().__init__()

    @property
    def wanted(self) -> frozenset[str]:
        """What it and the losses inside it want."""
        return frozenset[str]().union(*(part.wants for part in self.modules() if isinstance(part, Loss)))

    def attach(self, towers: Towers) -> None:
        """Make what depends on the model, such as layers; called once, before training.

        Args:
            towers: a view of the model's towers: widths, tokenizer, features of texts.
        """
        for part in self.children():
            if isinstance(part, Loss):
                part.attach(towers)

    def __call__(
        self, outputs: Any, batch: Any = None, progress: Progress | None = None, **pairs: Any
    ) -> Any:
        """The loss of a batch, see `forward`; or of two tensors, in a loop that has nothing else.

        Args:
            outputs: of a model; or embeddings of queries (B, D).
            batch: examples; or embeddings of candidates (C, D), C >= B, the B answers first.
            progress: where training stands.
            pairs: with embeddings: ``positive``, ``valid`` (B, C) and ``weights`` (B,), as of a batch, and
                ``scale`` of the scores where the loss has no temperature of its own, by default CLIP's first,
                1 / 0.07.

        Example:
            >>> from clplat.losses import InfoNCE
            >>> queries, answers = torch.eye(2), torch.eye(2)
            >>> InfoNCE(temperature=0.5)(queries, answers)
            tensor(0.1269)
        """
        if isinstance(outputs, Tensor):
            outputs, batch = _of_tensors(outputs, batch, **pairs)
        elif pairs:
            raise TypeError(f"{', '.join(pairs)} stand in the batch, unless the loss is one of two tensors")
        return super().__call__(outputs, batch, progress or Progress())

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor | dict[str, Tensor]:
        """The loss of a batch.

        Args:
            outputs: of B examples and C candidates; their scores are ``outputs.scores()``.
            batch: ``positive`` (B, C) says which candidates answer which query, ``valid`` (B, C) which count
                for it, ``weights`` (B,) how much a query counts.
            progress: where training stands.

        Returns:
            A scalar, or named scalars that are added; all of them are logged.
        """
        raise NotImplementedError


def _of_tensors(
    queries: Tensor,
    candidates: Any,
    *,
    positive: Tensor | None = None,
    valid: Tensor | None = None,
    weights: Tensor | None = None,
    scale: Tensor | float = 1 / 0.07,
) -> tuple[Outputs, _Pairs]:
    from clplat.models.outputs import Outputs

    if not isinstance(candidates, Tensor) or queries.ndim != 2 or candidates.ndim != 2:
        raise TypeError("a loss takes outputs and a batch, or two tensors (B, D) and (C, D)")
    size = (len(queries), len(candidates))
    if positive is None:
        positive = torch.eye(*size, dtype=torch.bool, device=queries.device)
    if valid is None:
        valid = torch.ones(size, dtype=torch.bool, device=queries.device)
    if weights is None:
        weights = queries.new_ones(len(queries))
    scale = torch.as_tensor(scale, dtype=queries.dtype, device=queries.device)
    outputs = Outputs(normalize(queries, dim=-1), normalize(candidates, dim=-1), scale)
    return outputs, _Pairs(positive, valid, weights)


class NoLoss(Loss):
    """Nothing: what an empty slot trains on, where a strategy replaces the task's loss."""

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        return outputs.query.new_zeros(())
