"""A strategy with a teacher that moves, and with one of another backbone: in every loop, to the bit."""

from __future__ import annotations

from clplat.config.resolve import command_of, resolve
from clplat.parts.teachers.backbone import OtherBackbone
from clplat.parts.teachers.momentum import Momentum
from clplat.testing import StrategyContract
from clplat.training.strategy import Strategy
from strategies import Distill


class TestMomentum(StrategyContract):
    def make(self) -> Strategy:
        return Distill(teacher="momentum")


class TestBackbone(StrategyContract):
    def make(self) -> Strategy:
        return Distill(teacher=OtherBackbone())


def test_a_teacher_is_configured_by_name_and_options() -> None:
    usual = resolve({"strategy": "distill"}).as_dict()["strategy"]
    assert usual["teacher"] == "previous", "written as before teachers had options"
    config = resolve({"strategy": "distill", "strategy.teacher": "momentum", "strategy.teacher.decay": 0.9})
    assert isinstance(made := config.make("strategy")._teacher, Momentum) and made.decay == 0.9
    assert command_of(config).endswith("--strategy.teacher momentum --strategy.teacher.decay 0.9")
