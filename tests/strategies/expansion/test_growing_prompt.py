"""A prompt that grows with every domain: what is old stays, and takes part."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.coda import CodaPrompt
from clplat.parts.prompts.context import ContextPrompt
from clplat.testing import TinyTowers, plain_loop, tiny_retriever
from clplat.testing.checks import trainable, weights
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import GrowingPrompt


def test_each_domain_adds_components_and_leaves_those_before() -> None:
    model = tiny_retriever(composer=Sum())
    trainer = tiny_trainer(GrowingPrompt(CodaPrompt(components=2, length=2)), model)
    trainer.train(tiny_stream()[:1], eval_streams=[])
    first = {name: tensor for name, tensor in weights(model).items() if ".grown.0." in name}
    trainer.train(tiny_stream()[1:], eval_streams=[])
    after = weights(model)
    assert len(first) == 3 and all(torch.equal(after[name], tensor) for name, tensor in first.items())
    assert trainable(model) and all(".grown.1." in name for name in trainable(model))
    assert "orthogonality" in trainer.losses[0]


def test_it_needs_a_retriever_and_a_prompt_that_grows() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        plain_loop(GrowingPrompt(), TinyTowers())
    strategy: Any = GrowingPrompt(ContextPrompt(2))
    with pytest.raises(UserError, match="needs a prompt that grows"):
        plain_loop(strategy, tiny_retriever(composer=Sum()))
