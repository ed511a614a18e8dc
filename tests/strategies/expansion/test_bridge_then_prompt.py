"""Two stages: what is trained in each, and that the towers stand still in the second."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.context import ContextPrompt
from clplat.testing import TinyTowers, plain_loop, tiny_retriever
from clplat.testing.checks import trainable, weights
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import BridgeThenPrompt


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_towers_first_and_then_a_prompt_alone() -> None:
    model = tiny_retriever(Full(last=1), composer=Sum())
    trainer: Any = tiny_trainer(BridgeThenPrompt(ContextPrompt(2)), model)
    start, stream = weights(model), tiny_stream()
    trainer.train(stream[0], eval_streams=[])
    bridged = weights(model)
    assert moved(start, bridged) and {*trainable(model)} >= moved(start, bridged)
    assert "text_prompt" not in " ".join(bridged)
    trainer.train(stream[1], eval_streams=[])
    after = weights(model)
    assert not moved(bridged, after), "the towers and what the adapter has made of them stand still"
    assert {*trainable(model)} == after.keys() - bridged.keys() == {"backbone.text_prompt.vectors"}


def test_as_many_domains_to_bridge_as_there_are_is_plain_fine_tuning() -> None:
    model = tiny_retriever(Full(last=1), composer=Sum())
    plain_loop(BridgeThenPrompt(bridge=2), model, steps=1)
    assert model.backbone.text_prompt is None and model.backbone.image_prompt is None


def test_it_needs_a_retriever_whose_towers_take_the_prompt() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        plain_loop(BridgeThenPrompt(), TinyTowers())
    with pytest.raises(ValueError, match="bridge must be at least 1"):
        BridgeThenPrompt(bridge=0)
