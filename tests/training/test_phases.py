"""Phases of an experience and groups of parameters, in every loop and after resuming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.parameter_groups import Group, layer_decay
from clplat.parts.adapters.full import Full
from clplat.testing import StrategyContract, TinyTowers, tiny_retriever
from clplat.testing.avalanche import stock_template
from clplat.testing.checks import weights
from clplat.testing.runs import finish, resumed, tiny_stream, tiny_trainer
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def heads(name: str) -> bool:
    """The composer of a retriever, the text layer of any towers."""
    return name.startswith(("composer.", "text."))


class Staged(Strategy):
    """Trains the head alone, then all, then what is no head."""

    def __init__(self) -> None:
        self.moved: list[tuple[str, int, bool, bool]] = []
        self.rates: list[tuple[str, float]] = []
        self._last: dict[str, Tensor] = {}

    def phases(self, experience: Any) -> Sequence[Phase]:
        return [
            Phase("head", epochs=1, trainable=heads, lr=0.02),
            Phase("all", epochs=1),
            Phase("rest", epochs=1, trainable=lambda name: not heads(name)),
        ]

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self._last = weights(learner.model)
        self.rates.append((learner.progress.phase, learner.optimizer.param_groups[0]["lr"]))
        return {}

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        now, place = weights(learner.model), learner.progress
        changed = [name for name in now if not torch.equal(now[name], self._last[name])]
        self.moved.append((place.phase, place.epoch, any(map(heads, changed)), not all(map(heads, changed))))

    def after_experience(self, learner: Any, experience: Any) -> None:
        free = [name for name, p in learner.model.named_parameters() if p.requires_grad]
        assert any(map(heads, free)) and not all(map(heads, free)), "all of the experience is trainable again"


class TestStaged(StrategyContract):
    def make(self) -> Strategy:
        return Staged()


STEPS = [("head", 0, True, False), ("all", 1, True, True), ("rest", 2, False, True)]
WANTED = [moved for _ in range(2) for moved in STEPS for _ in range(3)]


def test_a_phase_trains_what_it_says() -> None:
    own, stock = Staged(), Staged()
    trainer = finish(tiny_trainer(own, tiny_retriever(Full(last=1)), lr=3e-3, warmup=0.0)).trainer
    assert own.moved == WANTED
    # Each phase has a schedule of its own, from its own rate.
    rates = [rate for _, rate in own.rates[:9]]
    assert rates == pytest.approx([base * f for base in (0.02, 3e-3, 3e-3) for f in (1.0, 0.75, 0.25)])
    assert trainer.train_epochs == trainer.config.epochs == 2
    template = stock_template(TinyTowers(), stock.as_plugin())
    template.train(tiny_stream(), eval_streams=[])
    assert stock.moved == WANTED
    assert [rate for _, rate in stock.rates[:9]] == [0.02] * 3 + [0.1] * 6 and template.train_epochs == 1


@pytest.mark.parametrize("reset", [True, False])
def test_a_run_is_resumed_inside_any_phase(reset: bool) -> None:
    """An experience has three phases of three steps."""

    def trainer() -> Any:
        return tiny_trainer(Staged(), tiny_retriever(Full(last=1)), reset_optimizer=reset)

    cuts = (2, 3, 4, 8, 10)
    run = finish(trainer(), cuts)
    for cut in cuts:
        again = resumed(run, str(cut), trainer())
        assert again.losses == run.trainer.losses and again.flops == run.trainer.flops
        for name, value in weights(run.trainer.model).items():
            assert torch.equal(weights(again.model)[name], value), name


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ([], "needs at least one phase"),
        ([Phase("a"), Phase("a")], "two phases of one experience have the name 'a'"),
        ([Phase("a", epochs=0)], "phase 'a' needs at least one epoch, not 0"),
        ([Phase("a", trainable=lambda name: False)], "phase 'a' trains nothing"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases: list[Phase], words: str) -> None:
    class Wrong(Strategy):
        def phases(self, experience: Any) -> Sequence[Phase]:
            return phases

    with pytest.raises(UserError, match=words):
        tiny_trainer(Wrong(), tiny_retriever()).train(tiny_stream()[0], eval_streams=[])


# -- groups ------------------------------------------------------------------------------------------------


class Slow(Strategy):
    """Holds what the backbone trains at a tenth of the rate, without decay."""

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        return [Group([n for n in names if n.startswith("backbone.")], lr_factor=0.1, weight_decay=0.0)]


class TestSlow(StrategyContract):
    def make(self) -> Strategy:
        return Slow()


def test_groups_have_their_own_rate_and_decay() -> None:
    settings = {"lr": 3e-3, "head_lr": 1e-3, "weight_decay": 0.5, "schedule": "constant", "warmup": 0.0}
    trainer = tiny_trainer(Slow(), tiny_retriever(Full(last=1)), **settings)
    trainer.train(tiny_stream()[0], eval_streams=[])
    groups = [
        (g["role"], g["lr"], g["weight_decay"], len(g["params"]) > 0) for g in trainer.optimizer.param_groups
    ]
    assert groups[0] == ("backbone", 3e-3, 0.5, False) and groups[1] == ("head", 1e-3, 0.5, True)
    assert groups[2][0] == "backbone" and groups[2][1] == pytest.approx(3e-4) and groups[2][2:] == (0.0, True)
    assert len(groups) == 3


def test_a_group_of_what_is_not_trained_is_refused() -> None:
    class Wrong(Strategy):
        def groups(self, names: Sequence[str]) -> Sequence[Group]:
            return [Group(["composer.nothing"])]

    with pytest.raises(UserError, match=r"names 'composer\.nothing', which is not trained"):
        tiny_trainer(Wrong(), tiny_retriever()).train(tiny_stream()[0], eval_streams=[])


def test_layer_decay() -> None:
    """Two towers of three and two blocks: the last block moves at half of the head's rate."""
    tower, words = "backbone.model.visual.transformer.resblocks", "backbone.model.transformer.resblocks"
    wanted = {
        "backbone.model.visual.conv1.weight": 0.0625,
        f"{tower}.0.ln_1.bias": 0.125,
        f"{tower}.1.attn.lora.weight": 0.25,
        f"{tower}.2.ln_1.bias": 0.5,
        "backbone.model.token_embedding.weight": 0.125,
        f"{words}.0.ln_1.bias": 0.25,
        f"{words}.1.ln_1.bias": 0.5,
    }
    others = ["backbone.model.visual.proj", "backbone.model.ln_final.bias", "composer.gate"]
    found = {n: g.lr_factor for g in layer_decay([*wanted, *others], 0.5) for n in g.names}
    assert found == wanted
