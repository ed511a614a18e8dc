"""Losses with weights, state and named terms, a model's own terms, and the empty slot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clplat.config.resolve import command_of, resolve
from clplat.errors import UserError
from clplat.models.outputs import Outputs
from clplat.parts.adapters.full import Full
from clplat.parts.losses._base import Loss, NoLoss
from clplat.parts.losses.info_nce import InfoNCE
from clplat.retriever import ComposedRetriever
from clplat.runs.checkpoint import Weights, save_state, save_version
from clplat.testing import LossContract, tiny_retriever
from clplat.testing.runs import finish, tiny_stream, tiny_trainer
from clplat.training.strategy import Strategy
from clplat.trees import load_tree

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Identity(Loss):
    """A contrast, and a classifier of what is shown, with a running centre.

    Args:
        base: the contrast.
        classes: names of what may be shown.
    """

    def __init__(self, base: Loss | None = None, classes: int = 20) -> None:
        super().__init__()
        self.base, self.classes = base, classes
        self.contrast = base or InfoNCE()
        self.register_buffer("centre", torch.tensor(0.0))

    def attach(self, towers: Any) -> None:
        super().attach(towers)
        self.classify = nn.Linear(towers.joint, self.classes)

    def forward(self, outputs: Outputs, batch: Any, progress: Any) -> dict[str, Tensor]:
        names = torch.tensor([sum(map(ord, label)) % self.classes for label in batch.labels])
        self.centre: Tensor = 0.9 * self.centre + 0.1 * outputs.candidates.detach().mean()
        shown = cross_entropy(self.classify(outputs.candidates - self.centre), names)
        asked = cross_entropy(self.classify(outputs.query), names[: len(batch)])
        return {"contrast": self.contrast(outputs, batch, progress), "identity": shown + asked}


class TestIdentity(LossContract):
    def make(self) -> Loss:
        return Identity()


def test_weights_of_a_loss_are_of_the_head_and_never_deployed(tmp_path: Path) -> None:
    trainer = tiny_trainer(Strategy(), tiny_retriever(Full(last=1)), loss=Identity(), head_lr=0.01)
    finish(trainer)
    groups = {group["role"]: group["params"] for group in trainer.optimizer.param_groups}
    weight = trainer.task.get_parameter("classify.weight")
    assert any(p is weight for p in groups["head"]) and weight in trainer.optimizer.state
    assert set(trainer.losses[0]) == {"task", "contrast", "identity", "loss"}
    terms = trainer.losses[3]
    assert terms["task"] == pytest.approx(terms["contrast"] + terms["identity"])
    kept = Weights(trainer.model)
    save_version(tmp_path / "version", trainer, kept)
    save_state(tmp_path / "state", trainer, kept, {})
    assert not any(
        "classify" in name or "centre" in name for name in load_tree(tmp_path / "version")["weights"]
    )
    assert set(load_tree(tmp_path / "state")["loss"]) == {"classify.weight", "classify.bias", "centre"}


def test_nested_losses_are_attached_and_say_what_they_want() -> None:
    class Wanting(Loss):
        wants = frozenset({"teacher"})

    assert Identity(base=Wanting()).wanted == {"teacher"}
    inner = Identity()
    Identity(base=inner).attach(tiny_retriever().towers)
    assert isinstance(inner.classify, nn.Linear)


def test_terms_of_the_model_are_trained_on_and_logged() -> None:
    class Balanced(ComposedRetriever):
        def forward(self, batch: Any) -> Outputs:
            out = super().forward(batch)
            out.terms = {"balance": 0.5 * out.query.square().mean()}
            return out

    def losses(kind: type[ComposedRetriever], **more: Any) -> list[dict[str, float]]:
        model = tiny_retriever(Full(last=1))
        model.__class__ = kind
        trainer = tiny_trainer(Strategy(), model, **more)
        trainer.train(tiny_stream()[0], eval_streams=[])
        return trainer.losses

    plain, whole, parts = losses(ComposedRetriever), losses(Balanced), losses(Balanced, micro_batch=3)
    assert plain[0]["task"] == whole[0]["task"]
    assert whole[0]["loss"] == pytest.approx(plain[0]["task"] + whole[0]["balance"])
    # Unit rows of 24 numbers, whatever the parts.
    assert {round(terms["balance"], 6) for terms in [*whole, *parts]} == {round(0.5 / 24, 6)}


class Replacing(Strategy):
    """Trains on terms of its own alone."""

    replaces_task_loss = True

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return {"own": (1 - outputs.scores().diagonal()).mean()}


def test_an_empty_slot_trains_on_what_the_strategy_says() -> None:
    trainer = tiny_trainer(Replacing(), tiny_retriever(), loss=NoLoss())
    finish(trainer)
    assert all(terms["task"] == 0.0 and terms["loss"] == terms["own"] for terms in trainer.losses)
    assert trainer.losses[-1]["own"] < trainer.losses[0]["own"]


class Function:
    """A function of embeddings."""

    def __call__(self, query: Tensor, candidates: Tensor) -> Tensor:
        return (query * candidates).mean()


def test_the_slot_is_empty_only_for_a_strategy_that_replaces_the_loss() -> None:
    with pytest.raises(UserError, match="strategy 'naive' does not replace the task's loss"):
        resolve({"loss": "none"})
    place = f"{__name__}:Replacing"
    chosen = resolve({"strategy": place})
    assert chosen.name("loss") == "none" and chosen.make("loss") is None
    assert "--loss" not in command_of(chosen)
    assert resolve({"strategy": place, "loss": "info_nce"}).name("loss") == "info_nce"
    with pytest.raises(UserError, match=r"Function' is no loss: it does not extend Loss"):
        resolve({"loss": f"{__name__}:Function"})
