"""The trainer: what the optimizer holds, what stays frozen, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.parts.composers._base import Composer
from clplat.parts.composers.sum import Sum
from clplat.parts.losses.info_nce import InfoNCE
from clplat.testing import tiny_domains, tiny_retriever
from clplat.testing.checks import difference, trainable, weights
from clplat.testing.runs import finish, tiny_stream, tiny_trainer
from clplat.training.strategy import Strategy
from clplat.training.trainer import NonFiniteLoss, Position, Trainer
from strategies import EWC, Naive

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Grow(Strategy):
    """A part for each domain: the older ones are frozen, the new one is trained."""

    def before_experience(self, learner: Any, experience: Any) -> None:
        learner.model.composer.requires_grad_(False)
        learner.model.composer.parts.append(nn.Linear(24, 24))


class Growing(Composer):
    """The text after a layer for every domain."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList()

    def forward(self, image: Any, text: Any) -> Tensor:
        out: Tensor = text.pooled
        for part in self.parts:
            out = out + part(out)
        return out + image.pooled


def stream(count: int = 3) -> Any:
    from clplat.training.streams import build_benchmark

    return build_benchmark(tiny_domains(count)).train_stream


# -- optimizer ---------------------------------------------------------------------------------------------


def test_the_optimizer_holds_exactly_what_is_trained_by_role() -> None:
    trainer = tiny_trainer(
        Naive(), tiny_retriever(Full(last=1)), head_lr=1e-4, schedule="constant", warmup=0.0
    )
    trainer.train(tiny_stream()[0], eval_streams=[])
    held = {group["role"]: group["params"] for group in trainer.optimizer.param_groups}
    named = dict(trainer.model.named_parameters())
    for role in ("backbone", "head"):
        wanted = [n for n in trainable(trainer.model) if n.startswith("backbone.") == (role == "backbone")]
        assert [id(p) for p in held[role]] == [id(named[n]) for n in wanted] and wanted
    rates = {group["role"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {"backbone": 3e-3, "head": 1e-4}
    assert {id(p) for p in trainer.optimizer.state} == {id(named[n]) for n in trainable(trainer.model)}


def test_parts_added_before_an_experience_are_trained_and_old_ones_take_no_memory() -> None:
    trainer = tiny_trainer(Grow(), tiny_retriever(composer=Growing()))
    sizes, moved = [], []
    for experience in stream(3):
        old = weights(trainer.model)
        trainer.train(experience, eval_streams=[])
        sizes.append(len(trainer.optimizer.state))
        part = f"composer.parts.{len(sizes) - 1}.weight"
        moved.append(part not in old and float(trainer.model.get_parameter(part).grad.norm()) > 0)
        assert not [name for name in old if not torch.equal(old[name], weights(trainer.model)[name])]
    assert sizes == [2, 2, 2] and moved == [True] * 3


def test_growth_draws_from_the_seed_of_its_place() -> None:
    ends = [finish(tiny_trainer(Grow(), tiny_retriever(composer=Growing()))).trainer for _ in range(2)]
    assert not difference(*(weights(trainer.model) for trainer in ends))
    first, second = ends[0].model.composer.parts
    assert not torch.allclose(first.bias, second.bias, atol=1e-2)


def test_a_part_that_comes_too_late_is_refused() -> None:
    from avalanche.core import SupervisedPlugin

    class Late(SupervisedPlugin):  # type: ignore[misc]
        def before_training_exp(self, template: Any, **_: Any) -> None:
            template.model.composer.parts.append(nn.Linear(24, 24))

    trainer = tiny_trainer(Grow(), tiny_retriever(composer=Growing()))
    trainer.plugins.append(Late())
    with pytest.raises(UserError, match=r"parts\.1"):
        trainer.train(tiny_stream()[0], eval_streams=[])


@pytest.mark.parametrize("reset", [True, False])
def test_moments_are_kept_over_experiences_only_if_asked_for(reset: bool) -> None:
    trainer = finish(tiny_trainer(Naive(), tiny_retriever(), reset_optimizer=reset)).trainer
    steps = {float(state["step"]) for state in trainer.optimizer.state.values()}
    assert steps == {6.0 if reset else 12.0}


def test_a_frozen_logit_scale_stays_and_a_free_one_is_trained() -> None:
    for free in (False, True):
        retriever = tiny_retriever(Full(last=1))
        retriever.backbone.logit_scale.requires_grad_(free)
        before = retriever.backbone.logit_scale.clone()
        trainer = finish(tiny_trainer(Naive(), retriever)).trainer
        assert torch.equal(before, retriever.backbone.logit_scale) != free
        assert (
            any(p is retriever.backbone.logit_scale for p in trainer.optimizer.param_groups[0]["params"])
            == free
        )


def test_the_schedule_is_the_formula() -> None:
    rates: list[float] = []
    trainer = tiny_trainer(
        Naive(), tiny_retriever(), lambda t: rates.append(t.optimizer.param_groups[0]["lr"]), warmup=0.5
    )
    trainer.train(tiny_stream(), eval_streams=[])
    one = [3e-3 * min(1, (s + 1) / 3) * 0.5 * (1 + math.cos(math.pi * s / 6)) for s in range(6)]
    assert rates == pytest.approx(one + one)


def test_gradients_of_frozen_parts_do_not_count_when_clipping() -> None:
    """What was trained in an earlier domain keeps its last gradient; a resumed run would not have it."""

    class Clean(Grow):
        def before_experience(self, learner: Any, experience: Any) -> None:
            super().before_experience(learner, experience)
            learner.model.zero_grad()

    settings = {"optimizer": "sgd", "lr": 0.1, "clip": 1e-2}
    ends = []
    for strategy in (Grow(), Clean()):
        run = finish(tiny_trainer(strategy, tiny_retriever(composer=Growing()), **settings))
        ends.append(weights(run.trainer.model))
    assert not difference(*ends)


# -- frozen parts ------------------------------------------------------------------------------------------


def test_frozen_parts_stay_in_evaluation_mode() -> None:
    modes: list[dict[str, bool]] = []

    class Look(Strategy):
        def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
            modes.append({name: module.training for name, module in learner.model.named_modules()})
            return {}

    retriever = tiny_retriever(Full(towers="text", last=1))
    trainer = tiny_trainer(Look(), retriever)
    trainer.train(tiny_stream()[0], eval_streams=[])
    trained = {name.rpartition(".")[0] for name in trainable(retriever)}
    for mode in modes:
        assert mode["composer"] and mode["composer.dropout"] and all(mode[name] for name in trained)
        assert not any(on for name, on in mode.items() if name.startswith("backbone.model.visual"))
        assert not mode["backbone.model.transformer.resblocks.0"]


def test_tensors_that_nothing_uses_are_refused() -> None:
    class Unused(Sum):
        def build(self, embed_dim: int) -> None:
            self.spare = nn.Linear(embed_dim, embed_dim)

    retriever = tiny_retriever(Full(last=1), Unused())
    before = weights(retriever)
    with pytest.raises(UserError, match=r"2 trainable tensors get no gradient: composer\.spare\.weight"):
        tiny_trainer(Naive(), retriever).train(tiny_stream()[0], eval_streams=[])
    assert not difference(weights(retriever), before)


# -- failure -----------------------------------------------------------------------------------------------


def explode_at(trainer: Trainer, step: int, value: float) -> None:
    """The criterion of one step becomes NaN or infinite."""

    class Broken(InfoNCE):
        def forward(self, outputs: Any, batch: Any, progress: Any) -> Tensor:
            right = super().forward(outputs, batch, progress)
            return right * value if trainer.step == step else right

    trainer.task = Broken()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_the_weights_are_intact(value: float) -> None:
    kept: dict[int, dict[str, Tensor]] = {}
    trainer = tiny_trainer(
        EWC(), tiny_retriever(Full(last=1)), lambda t: kept.update({t.step: weights(t.model)})
    )
    explode_at(trainer, 8, value)
    with pytest.raises(NonFiniteLoss) as caught:
        trainer.train(tiny_stream(), eval_streams=[])
    error = caught.value
    assert (error.step, error.position) == (8, Position(1, 0, 2))
    assert len(error.ids) == 8 and all(name.startswith("frame-black/") for name in error.ids)
    for word in (
        "step 8",
        "experience 1",
        "epoch 0",
        "iteration 2",
        "task nan" if math.isnan(value) else "task inf",
        "ewc",
        error.ids[0],
        "8 in all",
    ):
        assert word in str(error), word
    assert "\n" not in str(error) and not difference(weights(trainer.model), kept[8])


def test_a_gradient_that_is_not_finite_leaves_the_weights_intact() -> None:
    trainer = tiny_trainer(Naive(), tiny_retriever())

    class Broken(InfoNCE):
        def forward(self, outputs: Any, batch: Any, progress: Any) -> Tensor:
            right, first = super().forward(outputs, batch, progress), outputs.query[0]
            if progress.step != 2:
                return right
            return right + (first - first.detach()).square().sum().sqrt()  # 0, with the gradient 0 / 0

    trainer.task = Broken()
    with pytest.raises(NonFiniteLoss, match="gradient"):
        trainer.train(tiny_stream()[0], eval_streams=[])
    assert all(bool(value.isfinite().all()) for value in weights(trainer.model).values())
