"""The added column against the formula on scores, pair by pair in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.parts.postprocessors import InvertedSoftmax
from clplat.parts.postprocessors._base import Banks, Scored


def rows(seed: int, count: int) -> Tensor:
    return normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def directly(q: Tensor, gallery: Tensor, banks: Banks, settings: dict[str, float]) -> list[float]:
    """The score of one query with every item, as the papers write it: softmaxes multiplied."""
    beta, forward = settings.get("beta", 20.0), settings.get("forward", 0.0)
    second = settings.get("gallery_beta", 0.0)

    def s(a: Tensor, b: Tensor) -> float:
        return float(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)))

    row = sum(math.exp(beta * s(q, g)) for g in gallery)
    found = []
    for g in gallery:
        value = math.exp(beta * s(q, g)) / sum(math.exp(beta * s(b, g)) for b in banks.queries)
        value *= (math.exp(beta * s(q, g)) / row) ** forward
        if second:
            value *= math.exp(second * s(q, g)) / sum(math.exp(second * s(b, g)) for b in banks.pictures)
        found.append(value)
    return found


@pytest.mark.parametrize(
    "settings",
    [{"beta": 20.0}, {"beta": 8.0, "forward": 1.0}, {"beta": 5.0, "gallery_beta": 9.0}],
    ids=["inverted", "dual", "two-banks"],
)
def test_inner_products_are_the_logarithm_of_the_formula(settings: dict[str, Any]) -> None:
    banks, queries, gallery = Banks(rows(0, 9), rows(1, 6)), rows(2, 4), rows(3, 11)
    part = InvertedSoftmax(**settings)
    part.fit(banks)
    q, g = part.map(Scored(queries), Scored(gallery))
    assert q.shape == (4, 6) and g.shape == (11, 6)
    scale = part.beta * (1 + part.forward) + part.gallery_beta
    for i in range(4):
        logs = torch.tensor([math.log(v) for v in directly(queries[i], gallery, banks, settings)])
        ours = scale * (q[i].double() @ g.double().T)
        assert torch.allclose((ours - ours[0]).float(), logs - logs[0], atol=1e-4), "but for a constant"
        assert ours.argsort().tolist() == logs.argsort().tolist()


def test_only_queries_that_a_hub_answers_are_changed() -> None:
    gallery = torch.eye(3)
    bank = normalize(torch.tensor([[1.0, 0.2, 0.0], [1.0, 0.1, 0.0]]), dim=1)  # row 0 is the hub
    queries = normalize(torch.tensor([[1.0, 0.9, 0.0], [0.1, 1.0, 0.0], [1.0, 0.9, 0.0]]), dim=1)
    part = InvertedSoftmax(beta=20.0, dynamic=True)
    part.fit(Banks(bank, bank[:0]))
    exclude = torch.tensor([[-1], [-1], [0]])  # the third may not find the hub: it is left alone
    q, g = part.map(Scored(queries, exclude), Scored(gallery))
    assert q[:, -1].tolist() == [-1.0, 0.0, 0.0]
    assert (q @ g.T).argmax(1).tolist()[:2] == [1, 1], "the hub lost the first query"
    assert torch.equal(q[1, :3] @ g[:, :3].T, queries[1] @ gallery.T)


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"forward": -1.0}, {"gallery_beta": -1.0}, {"hubs": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs beta above 0"):
        InvertedSoftmax(**wrong)
