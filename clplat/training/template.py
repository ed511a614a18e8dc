"""How an Avalanche template handles our batches and our optimizer."""

from __future__ import annotations

from typing import Any

from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from clplat.config.groups import TrainConfig
from clplat.models.outputs import Outputs
from clplat.training.accumulation import embed_in_parts
from clplat.training.optimizer import hold_trainable

__all__ = ["RetrievalTemplate"]


class RetrievalTemplate(SupervisedTemplate):  # type: ignore[misc]
    """Avalanche's template with a `Batch` as its minibatch, and `Outputs` as what the model makes of it."""

    mbatch: Any
    model: Any
    config: TrainConfig
    resuming: bool
    _stop_training: bool
    _trained: list[nn.Parameter]

    def _unpack_minibatch(self) -> None:
        self.mbatch = self.mbatch.to(self.device)

    mb_x = property(lambda self: self.mbatch)
    mb_y = property(lambda self: self.mbatch.labels)
    mb_task_id = property(lambda self: None)

    def forward(self) -> Outputs:
        if self.config.micro_batch is not None:
            return embed_in_parts(self.model, self.mbatch, self.config.micro_batch)
        outputs: Outputs = self.model(self.mbatch)
        return outputs

    def criterion(self) -> Tensor:
        batch, outputs = self.mbatch, self.mb_output
        loss: Tensor = self._criterion(
            outputs.query,
            outputs.candidates,
            scale=outputs.scale,
            positive=batch.positive,
            valid=batch.valid,
            weights=batch.weights,
        )
        return loss

    def check_model_and_optimizer(self, **_: Any) -> None:
        self.model = self.model.to(self.device)
        self.make_optimizer()

    def make_optimizer(self, **_: Any) -> None:
        """Hold exactly the trainable tensors; after each experience the state is kept or reset."""
        if self.config.reset_optimizer and not self.resuming:
            self.optimizer.state.clear()
        self._trained = hold_trainable(self.optimizer, self.model)
