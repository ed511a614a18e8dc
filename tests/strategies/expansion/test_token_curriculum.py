"""Stages of more and more patches, in training alone."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.testing import StrategyContract, tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import TokenCurriculum


class TestTokenCurriculum(StrategyContract):
    def make(self) -> TokenCurriculum:
        return TokenCurriculum(epochs=1)


class Noted(TokenCurriculum):
    """Writes down how many tokens the first block sees in each phase."""

    def __init__(self) -> None:
        super().__init__([0.25, 0.5, 1.0], epochs=1)
        self.seen: dict[str, set[int]] = {}

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        visual = learner.model.backbone.model.visual
        tokens = visual.patch_dropout.train()(visual.positional_embedding[None]).shape[1]
        self.seen.setdefault(learner.progress.phase, set()).add(tokens)


def test_a_stage_sees_its_share_of_four_patches_and_the_class_token() -> None:
    strategy, model = Noted(), tiny_retriever(Full(), Sum())
    trainer = tiny_trainer(strategy, model)
    trainer.train(tiny_stream()[0], eval_streams=[])
    found = {phase.split()[0]: counts for phase, counts in strategy.seen.items()}
    assert found == {"0.25": {2}, "0.5": {3}, "1.0": {5}}
    assert isinstance(model.backbone.model.visual.patch_dropout, nn.Identity)


@pytest.mark.parametrize("shares", [[], [0.0, 1.0], [1.5], [0.5, 0.5]])
def test_what_it_refuses(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="different numbers"):
        TokenCurriculum(shares)
