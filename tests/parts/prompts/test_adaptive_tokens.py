"""Learned ends of texts: one pass of all is a pass of each, and each makes its part of the embedding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.models.features import POOLED
from clplat.parts.prompts.adaptive_tokens import AdaptiveTokens
from clplat.randomness import seeded
from clplat.testing import PromptContract
from clplat.testing.tiny import tiny_backbone

SAID = ["a red shoe", "dog", "longer and in green and with a belt"]


class TestAdaptiveTokens(PromptContract):
    def make(self) -> AdaptiveTokens:
        return AdaptiveTokens()


def test_one_pass_of_all_ends_is_a_pass_of_each_in_the_place_of_the_eot() -> None:
    backbone = tiny_backbone()
    with seeded(0, "prompt"):
        AdaptiveTokens(tokens=3, std=0.5).attach(backbone)
    ids, vectors = backbone.tokenize(SAID), backbone.text_prompt.vectors.detach()
    ends, rows = backbone.text_ends(ids), torch.arange(len(SAID))
    each = []
    for vector in vectors:
        x = backbone.model.token_embedding(ids).clone()
        x[rows, ends] = vector
        each.append(backbone.text_from_embeddings(x, ends, bare=True).pooled)
    expected = torch.stack(each, dim=1)
    parts = torch.arange(backbone.embed_dim).tensor_split(3)
    joined = torch.cat([expected[:, k, own] for k, own in enumerate(parts)], dim=1)
    plain = backbone.text(ids, {"tokens", "hidden", "states"}, bare=True)
    for wants in (POOLED | {"sets"}, POOLED | {"sets", "tokens", "hidden", "states"}):
        found = backbone.text(ids, wants)
        torch.testing.assert_close(found.sets, expected, atol=2e-6, rtol=1e-4)
        torch.testing.assert_close(found.pooled, joined, atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(found.tokens[1, :3], plain.tokens[1, :3], atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(found.states, plain.states, atol=2e-6, rtol=1e-4)


def test_without_noise_the_embedding_is_what_it_was() -> None:
    backbone = tiny_backbone()
    ids = backbone.tokenize(SAID)
    before = backbone.text(ids).pooled
    AdaptiveTokens(tokens=5, std=0.0).attach(backbone)
    torch.testing.assert_close(backbone.text(ids).pooled, before, atol=2e-6, rtol=1e-4)
    assert backbone.embed_dim % 5, "the parts need not be equal"


def test_the_diversity_is_the_mean_cosine_of_any_two() -> None:
    backbone = tiny_backbone().train()
    AdaptiveTokens(tokens=3, std=0.5, diversity=0.2).attach(backbone)
    ids = backbone.tokenize(SAID)
    rows = backbone.text(ids, POOLED | {"sets"}).sets.detach().double()
    cosines = [
        float(torch.cosine_similarity(row[i], row[j], dim=0))
        for row in rows
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    batch: Any = SimpleNamespace(texts=SAID)
    [(name, term)] = backbone.text_prompt.terms(batch, None).items()
    assert name == "diversity" and float(term.detach()) == pytest.approx(
        0.2 * sum(cosines) / len(cosines), rel=1e-4
    )
    with torch.no_grad():
        backbone.text(ids)
    assert backbone.text_prompt.terms(batch, None) == {}
    backbone.text(ids[:1])  # a further pass, as strategies make them, is none of the step after it
    backbone.text(ids)
    assert torch.equal(backbone.text_prompt.terms(batch, None)["diversity"], term)
    backbone.text(ids)
    assert backbone.text_prompt.terms(SimpleNamespace(texts=[]), None) == {}


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveTokens(tokens=0)
    backbone = tiny_backbone()
    AdaptiveTokens().attach(backbone)
    with pytest.raises(UserError, match="a text prompt is attached already"):
        AdaptiveTokens().attach(backbone)
