"""The contract of a loss: what a model is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from clplat.progress import Progress

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.models.view import Towers

__all__ = ["Loss", "NoLoss"]


class Loss(nn.Module):
    """Outputs of a batch -> what is minimised, in full precision also where the towers use less.

    Weights are trained with the learning rate of the head and, like buffers, are in every checkpoint; they
    are no part of the model that is deployed. Layers whose width depends on the model are made in `attach`.

    What a loss computes is best a function of scores and masks as well, as `info_nce` is: strategies and
    other code use that.
    """

    #: What it reads of `Outputs` beyond queries, candidates and scale: names of parts, or ``"teacher"``,
    #: which only strategies give.
    wants: ClassVar[frozenset[str]] = frozenset()
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


class NoLoss(Loss):
    """Nothing: what an empty slot trains on, where a strategy replaces the task's loss."""

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        return outputs.query.new_zeros(())
