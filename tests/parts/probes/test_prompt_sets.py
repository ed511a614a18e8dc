"""The diversity of sets of prompts, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.parts.composers.sum import Sum
from clplat.parts.probes import PromptSets
from clplat.parts.prompts.deep import DeepPrompt
from clplat.retriever import ComposedRetriever
from clplat.testing import ProbesContract, tiny_backbone
from clplat.testing.probes import tiny_views


class TestPromptSets(ProbesContract):
    def make(self) -> PromptSets:
        return PromptSets(most=4)


def measured(model: Any) -> dict[str, float]:
    view = tiny_views()[0]
    seen = SimpleNamespace(encoder=model.eval(), sets=view.sets, tokens=view.tokens)
    return PromptSets(most=4).measure(seen)  # type: ignore[arg-type]


def test_how_alike_the_features_of_a_text_are() -> None:
    backbone = tiny_backbone()
    assert measured(ComposedRetriever(backbone, Sum())) == {"alike": 1.0, "sets": 1.0}
    DeepPrompt(sets=(1, 2, 3), depth=1, towers="text", std=0.5).attach(backbone)
    view = tiny_views()[0]
    said = [text for held in view.sets.values() for query in held.queries for text in query.said][:4]
    each = []
    sets = backbone.text_prompt
    for part in sets.passes:
        backbone.text_prompt = part
        each.append(backbone.text(view.tokens(said)).pooled)
    backbone.text_prompt = sets
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = sum(float(torch.cosine_similarity(each[i], each[j]).mean().detach()) for i, j in pairs) / 3
    found = measured(ComposedRetriever(backbone, Sum()))
    assert found["sets"] == 3.0 and found["alike"] == pytest.approx(expected, rel=1e-4) and expected < 0.999


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="most must be"):
        PromptSets(most=0)
