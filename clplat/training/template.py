"""How an Avalanche template handles our batches and our optimizer."""

from __future__ import annotations

from typing import Any

from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from clplat.config.groups import TrainConfig
from clplat.data.batch import Batch
from clplat.models.outputs import Outputs
from clplat.parts.losses._base import Loss
from clplat.progress import Progress
from clplat.training.accumulation import embed_in_parts
from clplat.training.optimizer import hold_trainable
from clplat.training.plugin import AvalancheLearner

__all__ = ["RetrievalTemplate", "task_terms"]


def task_terms(loss: Loss, outputs: Outputs, batch: Batch, progress: Progress) -> dict[str, Tensor]:
    """A loss's terms by name: of the outputs, or of each of their views with its weight, ``<term>/<view>``.

    Matryoshka, say, is any loss on every prefix.
    """
    found: dict[str, Tensor] = {}
    for view, seen in (outputs.views or {"": outputs}).items():
        made = loss(seen, batch, progress)
        terms = made if isinstance(made, dict) else {"task": made}
        if not view:
            return terms
        found |= {f"{name}/{view}": seen.weight * term for name, term in terms.items()}
    return found


class RetrievalTemplate(SupervisedTemplate):  # type: ignore[misc]
    """Avalanche's template with a `Batch` as its minibatch, and `Outputs` as what the model makes of it."""

    mbatch: Any
    model: Any
    config: TrainConfig
    learner: AvalancheLearner
    task: Loss
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

    def objectives(self) -> dict[str, Tensor]:
        """What the model is trained on for the batch, by name: the loss's terms, then the model's own."""
        terms = task_terms(self.task, self.mb_output, self.mbatch, self.learner.progress)
        return {**terms, **self.mb_output.terms}

    def criterion(self) -> Tensor:
        first, *others = self.objectives().values()
        return sum(others, start=first)

    def check_model_and_optimizer(self, **_: Any) -> None:
        self.model, self.task = self.model.to(self.device), self.task.to(self.device)
        self.make_optimizer()

    def make_optimizer(self, **_: Any) -> None:
        """Hold exactly the trainable tensors; after each experience the state is kept or reset."""
        if self.config.reset_optimizer and not self.resuming:
            self.optimizer.state.clear()
        self._trained = hold_trainable(self.optimizer, self.model, self.task)
