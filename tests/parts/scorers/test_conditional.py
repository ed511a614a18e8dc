"""Embeddings under an attribute by hand in float64, and that the attribute decides what is near."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers.conditional import Conditional
from clplat.randomness import generator, seeded
from clplat.testing import tiny_backbone

R, T, G, Q = torch.randn(4, 4, 24, generator=generator(0, "conditional"))


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x)


def attached(**options: Any) -> Conditional:
    scorer = Conditional(**options)
    scorer.attach(Towers(tiny_backbone()))
    return scorer


def drawn(**options: Any) -> tuple[Conditional, Any, Any]:
    """A scorer of random weights, and in float64 its P x and its m(t)."""
    scorer = attached(**options)
    with seeded(0, "test"):
        for parameter in scorer.parameters():
            torch.nn.init.normal_(parameter)
    w: Any = {name: p.detach().double().numpy() for name, p in scorer.named_parameters()}

    def head(x: torch.Tensor) -> Any:
        return w["project.weight"] @ x.double().numpy()

    def mask(t: torch.Tensor) -> Any:
        return 2 / (1 + np.exp(-(w["names.weight"] @ unit(t.double().numpy()) + w["names.bias"])))

    return scorer, head, mask


def rows(scorer: Conditional) -> tuple[torch.Tensor, torch.Tensor]:
    query = scorer.query(ImageFeatures(pooled=R), TextFeatures(pooled=T), lambda image, text: Q)
    return query, scorer.item(ImageFeatures(pooled=G), lambda found: found.pooled)


@torch.no_grad()
def test_the_formula_by_hand() -> None:
    scorer, head, mask = drawn()
    found = scorer.block(*rows(scorer))
    for i in range(4):
        m = mask(T[i])
        for j in range(4):
            expected = unit(m * head(Q[i])) @ unit(m * head(G[j]))
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_what_is_kept_and_what_changes_by_hand() -> None:
    scorer, head, mask = drawn(disentangle=0.5, margin=0.3, temperature=0.2)
    queries, answers = rows(scorer)
    positive = torch.eye(4, dtype=torch.bool)
    positive[0, 2] = True  # right as well, so no negative
    weights = torch.tensor([1.0, 2.0, 0.0, 1.0])
    batch: Any = Examples(weights, positive)
    outputs: Any = SimpleNamespace(query=queries, candidates=torch.cat([answers, answers]))
    total = 0.0
    for i in range(4):
        m = mask(T[i])
        k = 2 - m
        kept = [unit(k * head(R[i])) @ unit(k * head(g)) / 0.2 for g in G]
        among = [x for j, x in enumerate(kept) if j == i or not positive[i, j]]
        asked = unit(m * head(G[i]))
        was, now = unit(m * head(R[i])) @ asked, unit(m * head(Q[i])) @ asked
        total += float(weights[i]) * (np.log(np.exp(among).sum()) - kept[i] + max(0.0, 0.3 + was - now))
    expected = 0.5 * total / 4
    assert float(scorer.terms(batch, outputs)["disentangled"]) == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_it_begins_as_the_cosine() -> None:
    scorer = attached()
    cosines = torch.nn.functional.cosine_similarity(Q[:, None], G[None], dim=2)
    assert torch.allclose(scorer.block(*rows(scorer)), cosines, atol=1e-5)


@torch.no_grad()
def test_another_attribute_ranks_the_same_pictures_otherwise() -> None:
    scorer = attached()
    scorer.names.weight[:12, 0] = 50.0  # a text along the first axis asks for the first half, one against it
    scorer.names.weight[12:, 0] = -50.0  # for the second
    one = torch.randn(24, generator=generator(1, "conditional"))
    other = torch.randn(24, generator=generator(2, "conditional"))
    pictures = torch.stack([torch.cat([one[:12], other[12:]]), torch.cat([other[:12], one[12:]])])
    axis = torch.zeros(2, 24)
    axis[0, 0], axis[1, 0] = 1.0, -1.0
    query = scorer.query(
        ImageFeatures(pooled=one.expand(2, -1)), TextFeatures(pooled=axis), lambda image, text: image.pooled
    )
    scores = scorer.block(query, scorer.item(ImageFeatures(pooled=pictures), lambda found: found.pooled))
    assert scores.diagonal() == pytest.approx([1.0, 1.0], abs=1e-4)
    assert (scores.diagonal() > scores.flip(1).diagonal() + 0.1).all()


def test_queries_without_a_picture_are_left_out() -> None:
    scorer = attached()
    _, items = rows(scorer)
    words = scorer.text(TextFeatures(pooled=T))
    batch: Any = Examples(torch.ones(4), torch.eye(4, dtype=torch.bool))
    outputs: Any = SimpleNamespace(query=words, candidates=items)
    found = scorer.terms(batch, outputs)["disentangled"]
    found.backward()
    assert found.item() == 0
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in scorer.parameters())


def test_wrong_numbers_are_refused() -> None:
    for options in ({"disentangle": -1.0}, {"margin": -0.1}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="temperature positive"):
            Conditional(**options)


class Examples:
    """What `terms` reads of a batch."""

    def __init__(self, weights: torch.Tensor, positive: torch.Tensor) -> None:
        self.weights, self.positive = weights, positive

    def __len__(self) -> int:
        return len(self.weights)
