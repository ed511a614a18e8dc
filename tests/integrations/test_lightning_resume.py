"""A Lightning checkpoint holds what the strategy remembers: going on ends with the weights of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from clplat import registry
from clplat.errors import UserError
from clplat.parts import Learner
from clplat.strategies import EWC, Naive

lightning = pytest.importorskip("lightning.pytorch", reason="it comes with the extra [test-integrations]")


def task(seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(24, 5, generator=draw), torch.randint(0, 3, (24,), generator=draw))


class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 3)

    def training_step(self, batch: Any, index: int) -> Any:
        outputs = self.layer(batch[0])
        task = cross_entropy(outputs, batch[1])
        return task + self.experience.loss(batch, outputs) if self.told else task

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def fit(module: Module, experience: Any, epochs: int, ckpt: Path | None = None, told: bool = True) -> Any:
    from clplat.integrations.lightning import StrategyCallback

    module.experience, module.told = experience, told
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[StrategyCallback(experience)] if told else [],
    )  # fmt: skip
    trainer.fit(module, DataLoader(experience.dataset, 8), ckpt_path=ckpt)
    return trainer


def began(name: str) -> tuple[Any, Module, Learner]:
    strategy, module = registry.load("strategies", name)(), Module()
    learner = Learner(
        module, None, lambda batch: module.layer(batch[0]), lambda batch, made: cross_entropy(made, batch[1])
    )
    with strategy.experience(learner, task(0)) as experience:
        fit(module, experience, 2)
    return strategy, module, learner


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ewc", "si", "mas", "replay", "distill", "agem"])
def test_going_on_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    strategy, module, learner = began(name)
    with strategy.experience(learner, task(1)) as experience:
        fit(module, experience, 4)
    strategy, half, learner = began(name)
    with strategy.experience(learner, task(1)) as experience:
        fit(half, experience, 2).save_checkpoint(tmp_path / "half.ckpt")
    strategy, rest = registry.load("strategies", name)(), Module()
    learner = Learner(
        rest, None, lambda batch: rest.layer(batch[0]), lambda batch, made: cross_entropy(made, batch[1])
    )
    with strategy.experience(learner, task(1), number=1) as experience:
        fit(rest, experience, 4, tmp_path / "half.ckpt")
    assert torch.equal(rest.layer.weight, module.layer.weight)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    _, module, _ = began("ewc")
    with EWC().experience(Learner(module), task(1), number=1) as experience:
        fit(module, experience, 1).save_checkpoint(tmp_path / "one.ckpt")
    fresh = Module()
    with EWC().experience(Learner(fresh), task(0)) as experience, pytest.raises(UserError, match="number=1"):
        fit(fresh, experience, 2, tmp_path / "one.ckpt")
    plain = Module()
    with Naive().experience(Learner(plain), task(0)) as experience:
        fit(plain, experience, 1, told=False).save_checkpoint(tmp_path / "plain.ckpt")
    with (
        EWC().experience(Learner(fresh), task(0)) as experience,
        pytest.raises(UserError, match="holds nothing"),
    ):
        fit(fresh, experience, 2, tmp_path / "plain.ckpt")
