"""A checkpoint of a Hugging Face trainer holds what the strategy remembers: going on ends with the same bits.

That any strategy's state is enough to go on is in its contract; here is the glue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from clplat import registry
from clplat.errors import UserError
from clplat.parts import Learner
from clplat.strategies import EWC, Cumulative
from clplat.testing import TinyTowers, tiny_collate, tiny_domains, tiny_loss
from clplat.testing.checks import difference
from clplat.testing.references import TinyReference

transformers = pytest.importorskip("transformers", reason="it comes with the extra [test-integrations]")

DATA = [domain.train[:16] for domain in tiny_domains()]


class Judged(nn.Module):
    """Towers as a model of Hugging Face's kind."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = TinyTowers()

    def forward(self, batch: Any) -> Any:
        outputs = self.towers(batch)
        return {"loss": tiny_loss(batch, outputs), "outputs": outputs}


class World:
    """A model, its learner and a strategy in one folder of checkpoints."""

    def __init__(self, strategy: Any) -> None:
        self.strategy, self.model = strategy, Judged()
        self.learner = Learner(self.model.towers, collate_fn=tiny_collate(), reference=TinyReference())

    def train(self, number: int, folder: Path, resume: Any = None) -> Any:
        from clplat.integrations.transformers import StrategyTrainer

        class Trainer(StrategyTrainer):
            def seen(self, outputs: Any) -> Any:
                return outputs["outputs"]

        args = transformers.TrainingArguments(
            str(folder), num_train_epochs=2, per_device_train_batch_size=8, learning_rate=1e-2,
            save_strategy="steps", save_steps=3, report_to="none", use_cpu=True, disable_tqdm=True,
            remove_unused_columns=False, logging_strategy="no",
        )  # fmt: skip
        with self.strategy.experience(self.learner, DATA[number], number=number) as experience:
            trainer = Trainer(
                self.model, args, experience=experience,
                data_collator=lambda rows: {"batch": tiny_collate()(rows)},
            )  # fmt: skip
            trainer.train(resume_from_checkpoint=resume)
        return self


@pytest.mark.parametrize("name", ["ewc", "si", "distill", "replay", "agem", "der", "weight_average"])
def test_going_on_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    part = registry.load("strategies", name)
    whole, rest = World(part()), World(part())
    whole.train(0, tmp_path / "first").train(1, tmp_path)
    rest.train(1, tmp_path, resume=str(tmp_path / "checkpoint-3"))
    assert not difference(rest.model.state_dict(), whole.model.state_dict())
    assert not difference(rest.strategy.state_dict(), whole.strategy.state_dict())
    assert rest.learner.progress == whole.learner.progress


def test_earlier_data_are_asked_for(tmp_path: Path) -> None:
    whole, rest = World(Cumulative()), World(Cumulative())
    whole.train(0, tmp_path / "first").train(1, tmp_path)
    with pytest.raises(UserError, match="data of the experiences before"):
        rest.train(1, tmp_path, resume=True)
    with rest.strategy.experience(rest.learner, DATA[0]):
        pass
    rest.train(1, tmp_path, resume=str(tmp_path / "checkpoint-3"))
    assert not difference(rest.model.state_dict(), whole.model.state_dict())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    World(EWC()).train(0, tmp_path)
    with pytest.raises(UserError, match=r"is of experience 0, this is experience 1: .*number=0"):
        World(EWC()).train(1, tmp_path, resume=True)
    (tmp_path / "checkpoint-4" / "strategy.safetensors").unlink()
    with pytest.raises(UserError, match=r"checkpoint-4 holds nothing of the strategy: strategy\.safetensors"):
        World(EWC()).train(0, tmp_path, resume=True)
