"""The spread of sets by hand, and that an example's own two pictures are its set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.deep import DeepPrompt
from clplat.randomness import generator, seeded
from clplat.testing import TinyTowers, plain_loop, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import SetSpread
from strategies.regularisation.set_spread import spread_penalty


def slow(sets: np.ndarray) -> float:
    """In loops, in float64."""
    values = []
    for x in sets:
        count, width = x.shape
        central = [
            abs(x[min(t + 1, count - 1), d] - x[max(t - 1, 0), d]) / 2
            for t in range(count)
            for d in range(width)
        ]
        spread = [sum((x[:, d] - x[:, d].mean()) ** 2) / (count - 1) for d in range(width)]
        values.append(1 / (1 + np.mean(central) + np.mean(spread)))
    return float(np.mean(values))


@pytest.mark.parametrize("members", [2, 5])
def test_the_formula_by_hand(members: int) -> None:
    sets = torch.randn(3, members, 4, generator=generator(0, "sets"), dtype=torch.float64)
    assert spread_penalty(sets).item() == pytest.approx(slow(sets.numpy()), abs=1e-12)


def test_the_set_is_the_reference_and_the_target() -> None:
    model = tiny_retriever(composer=Sum())
    with seeded(0, "prompt"):
        DeepPrompt(length=2, depth=1, towers="image").attach(model.backbone)
    model.eval()
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    outputs: Any = model(batch)
    term = SetSpread(weight=0.5).loss(tiny_learner(model), batch, outputs)["set_spread"]
    count, shown = len(batch), batch.picture_rows
    rows = [[shown[i], shown[count + i]] for i in range(count)]
    sets = torch.stack([model.backbone.image(batch.pictures.at(pair)).pooled for pair in rows])
    assert term.item() == pytest.approx(0.5 * slow(sets.detach().double().numpy()), abs=1e-5)
    term.backward()
    assert model.backbone.image_prompt is not None
    assert all(p.grad is not None and p.grad.any() for p in model.backbone.image_prompt.parameters())


def test_it_needs_a_retriever_and_a_weight() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        plain_loop(SetSpread(), TinyTowers())
    with pytest.raises(ValueError, match="at least 0"):
        SetSpread(weight=-1.0)
