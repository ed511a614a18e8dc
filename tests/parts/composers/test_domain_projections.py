"""PROOF's composition by hand, and what a new domain adds."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.domain_projections import DomainProjections
from clplat.randomness import generator, seeded


def made(width: int = 5) -> tuple[DomainProjections, ImageFeatures, TextFeatures]:
    with seeded(0, "composer"):
        composer = DomainProjections(context=2)
        composer.build(width)
    draw = generator(0, "features")
    rows = [3 * torch.randn(4, width, generator=draw) for _ in range(2)]
    return composer, ImageFeatures(pooled=rows[0]), TextFeatures(pooled=rows[1])


def test_the_formula_after_two_domains() -> None:
    composer, image, text = made()
    composer.grow()
    draw = generator(0, "weights")
    with torch.no_grad():
        for parameter in composer.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=draw))
    held = {name: tensor.double() for name, tensor in composer.state_dict().items()}

    def side(name: str, row: torch.Tensor) -> torch.Tensor:
        parts = [held[f"{name}.{i}.weight"] @ row.double() + held[f"{name}.{i}.bias"] for i in range(2)]
        return parts[0] + parts[1]

    found, targets = composer(image, text), composer.target(image)
    for i, (r, w) in enumerate(zip(image.pooled, text.pooled, strict=True)):
        assert torch.allclose(targets[i].double(), side("pictures", r), atol=1e-5)
        rows = [normalize(side("pictures", r), dim=0), normalize(side("texts", w), dim=0)]
        rows += [*held["contexts.0"], *held["contexts.1"]]
        out = torch.zeros(5, dtype=torch.float64)
        for own in rows[:2]:
            scores = [
                float((held["query.weight"] @ own) @ (held["key.weight"] @ other)) / math.sqrt(5)
                for other in rows
            ]
            shares = [math.exp(score) for score in scores]
            value = sum(s * (held["value.weight"] @ x) for s, x in zip(shares, rows, strict=True))
            out = out + own + held["output.weight"] @ (value / sum(shares))
        assert torch.allclose(found[i].double(), normalize(out, dim=0), atol=1e-5)


def test_it_begins_as_the_plain_sum_and_a_new_domain_changes_nothing() -> None:
    composer, image, text = made()
    plain = normalize(normalize(image.pooled, dim=1) + normalize(text.pooled, dim=1), dim=1)
    assert torch.allclose(composer(image, text), plain, atol=1e-6)
    assert torch.equal(composer.target(image), image.pooled)
    with torch.no_grad():
        composer.pictures[0].weight.mul_(1.5)  # type: ignore[operator]
    before = composer(image, text)
    composer.grow()
    assert torch.allclose(composer(image, text), before, atol=1e-6)
    trained = {name for name, p in composer.named_parameters() if p.requires_grad}
    projections = {f"{side}.1.{kind}" for side in ("pictures", "texts") for kind in ("weight", "bias")}
    attention = {f"{name}.weight" for name in ("query", "key", "value", "output")}
    assert trained == projections | attention | {"contexts.1"}


def test_without_context_the_sides_attend_to_each_other_alone() -> None:
    composer = DomainProjections(context=0)
    composer.build(3)
    composer.grow()
    assert composer(torch.eye(3), torch.eye(3)).shape == (3, 3) and not len(composer.contexts)
    with pytest.raises(ValueError, match="context"):
        DomainProjections(context=-1)
