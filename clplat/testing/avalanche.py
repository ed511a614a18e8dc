"""A stock Avalanche template on composed retrieval: training without our trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clplat.testing.references import TinyReference
from clplat.testing.tiny import tiny_collate, tiny_loss
from clplat.training.avalanche import EvaluationPlugin, SupervisedTemplate

__all__ = ["StockTemplate", "stock_template"]


class StockTemplate(SupervisedTemplate):  # type: ignore[misc]
    """Only what batches that are no tuples need; loop, optimizer handling and hooks are Avalanche's."""

    def make_train_dataloader(self, **_: Any) -> None:
        self.dataloader = DataLoader(self.adapted_dataset, self.train_mb_size, collate_fn=tiny_collate())

    @property
    def collate(self) -> Any:
        return tiny_collate()

    mbatch: Any
    reference = TinyReference()

    def _unpack_minibatch(self) -> None:
        self.mbatch = self.mbatch.to(self.device)

    def forward(self) -> Any:
        return self.model(self.mbatch)

    def criterion(self) -> Tensor:
        return tiny_loss(self.mbatch, self.mb_output)


def stock_template(model: nn.Module, *plugins: Any) -> StockTemplate:
    """A template that trains one epoch per experience with SGD."""
    return StockTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        train_mb_size=8,
        train_epochs=1,
        plugins=list(plugins),
        evaluator=EvaluationPlugin,
        eval_every=-1,
    )
