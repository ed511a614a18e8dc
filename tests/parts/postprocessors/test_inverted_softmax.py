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
    second, power = settings.get("gallery_beta", 0.0), settings.get("power", 1.0)

    def s(a: Tensor, b: Tensor) -> float:
        return float(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)))

    row = sum(math.exp(beta * s(q, g)) for g in gallery)
    found = []
    for g in gallery:
        value = math.exp(beta * s(q, g)) / sum(math.exp(beta * s(b, g)) for b in banks.queries) ** power
        value *= (math.exp(beta * s(q, g)) / row) ** forward
        if second:
            value *= math.exp(second * s(q, g)) / sum(math.exp(second * s(b, g)) for b in banks.pictures)
        found.append(value)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 20.0},
        {"beta": 8.0, "forward": 1.0},
        {"beta": 5.0, "gallery_beta": 9.0},
        {"beta": 6.0, "power": 0.4},
    ],
    ids=["inverted", "dual", "two-banks", "prior"],
)
def test_inner_products_are_the_logarithm_of_the_formula(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clplat.mechanisms.bank_sums._CELLS", 20)  # blocks of two rows
    banks, queries, gallery = Banks(rows(0, 9), rows(1, 6)), rows(2, 4), rows(3, 11)
    part = InvertedSoftmax(**settings)
    part.fit(banks)
    q, g = part.map(Scored(queries), Scored(gallery))
    width = 5 + (2 if part.gallery_beta else 1)  # a column for each bank
    assert q.shape == (4, width) and g.shape == (11, width)
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


def test_each_bank_has_hubs_of_its_own() -> None:
    """DualDIS: a query's best item may be a hub of one bank, of the other, of both, of none."""
    gallery = torch.eye(4)
    queries = normalize(torch.eye(4) + 0.1, dim=1)
    banks = Banks(torch.eye(4)[[0, 1]], torch.eye(4)[[1, 2]])
    part = InvertedSoftmax(beta=3.0, gallery_beta=2.0, dynamic=True)
    part.fit(banks)
    q, g = part.map(Scored(queries), Scored(gallery))
    assert q[:, 4:].tolist() == [[-1.0, 0.0], [-1.0, -1.0], [0.0, -1.0], [0.0, 0.0]]
    similar = queries.double() @ gallery.double().T
    both = ((banks.queries, 3.0), (banks.pictures, 2.0))
    sums = [(beta * bank.double() @ gallery.double().T).exp().sum(0).log() for bank, beta in both]
    expected = 5.0 * similar + q[:, 4:5] * sums[0] + q[:, 5:6] * sums[1]
    assert torch.allclose(5.0 * (q.double() @ g.double().T), expected, atol=1e-5)


def test_what_equals_a_hub_is_one_and_stays_equal() -> None:
    gallery = torch.cat([rows(0, 3), rows(0, 3), rows(0, 3)])
    part = InvertedSoftmax(beta=20.0, dynamic=True)
    part.fit(Banks(rows(0, 3)[:1], rows(1, 0)))
    q, g = part.map(Scored(rows(0, 2), torch.tensor([[0], [-1]])), Scored(gallery))
    assert q[:, -1].tolist() == [-1.0, 0.0], "the first query may not find row 0, and finds its equal"
    assert torch.equal(g[:3], g[3:6]) and torch.equal(g[:3], g[6:])


def test_the_gallery_branch_is_of_what_is_ranked_and_not_of_the_bank() -> None:
    """The released code hands the gallery bank's similarities to both places, and ranks nothing by them."""
    part = InvertedSoftmax(beta=0.5, gallery_beta=3.0)
    part.fit(Banks(rows(0, 6), rows(1, 6)))
    first, second = (part.map(Scored(rows(seed, 6)), Scored(rows(4, 6)))[0] for seed in (2, 3))
    assert not torch.equal(first, second), "other queries, other rows"


@pytest.mark.parametrize(
    "wrong", [{"beta": 0.0}, {"forward": -1.0}, {"gallery_beta": -1.0}, {"hubs": 0}, {"power": 0.0}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs beta above 0|power must be above 0"):
        InvertedSoftmax(**wrong)
