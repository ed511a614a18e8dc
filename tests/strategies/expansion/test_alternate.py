"""Parts of a model in turns: each phase moves its own tensors and no others."""

from __future__ import annotations

from typing import Any

import pytest

from clplat.parts.adapters.mixed_readout import MixedReadout
from clplat.parts.composers.sum import Sum
from clplat.testing import StrategyContract, tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import Alternate


class TestAlternate(StrategyContract):
    def make(self) -> Alternate:
        return Alternate(epochs=1)


class Noted(Alternate):
    """Writes down what moved in each phase."""

    def __init__(self) -> None:
        super().__init__([r"\.projection\.", "resampler"], rounds=2, epochs=1)
        self.moved: dict[str, set[str]] = {}

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        names = {name for name, p in learner.model.named_parameters() if p.grad is not None and p.grad.any()}
        self.moved.setdefault(learner.progress.phase, set()).update(names)


def test_each_part_in_its_turn() -> None:
    strategy = Noted()
    tiny_trainer(strategy, tiny_retriever(MixedReadout(rank=4), Sum())).train(
        tiny_stream()[0], eval_streams=[]
    )
    words = ("projection", "resampler", "gate")
    assert list(strategy.moved) == [f"part {p}, round {r}" for r in (1, 2) for p in (1, 2, 3)]
    for phase, names in strategy.moved.items():
        assert names and all(words[int(phase[5]) - 1] in name for name in names)


@pytest.mark.parametrize("options", [{"turns": []}, {"rounds": 0}, {"turns": ["("]}])
def test_what_it_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|no regular expression"):
        Alternate(**options)
