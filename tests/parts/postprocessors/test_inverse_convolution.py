"""InvGC pair by pair in float64, as the formula and the public code say it, and what it is for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.bank_sums import away_from, away_from_nearest
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.postprocessors.inverse_convolution import InverseConvolution
from clplat.randomness import generator


def cone(name: str, count: int) -> Tensor:
    """Unit rows in a narrow cone."""
    spread = torch.randn(count, 6, generator=generator(0, name))
    return normalize(torch.ones(6) + 0.5 * spread, dim=1)


GALLERY, PICTURES, QUERIES, ASKED = cone("g", 7), cone("p", 5), cone("q", 4), cone("a", 3)


def slowly(rows: Tensor, bank: Tensor, rate: float, baseline: float, count: int | None = None) -> Tensor:
    out = []
    for x in rows.double():
        scored = sorted(((float(x @ b), b) for b in bank.double()), key=lambda pair: -pair[0])[:count]
        moved = x.clone()
        for score, b in scored:
            moved -= rate / len(scored) * (score - baseline) * b
        out.append(moved / moved.norm())
    return torch.stack(out)


def test_the_sums_are_those_of_the_public_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clplat.mechanisms.bank_sums._CELLS", 13)  # several blocks
    mean = float((GALLERY.double() @ PICTURES.double().T).mean())  # the code's: over the test gallery
    found = away_from(GALLERY, PICTURES, 0.3, mean).double()
    assert torch.allclose(found, slowly(GALLERY, PICTURES, 0.3, mean), atol=1e-7)
    local = away_from_nearest(GALLERY, PICTURES, 0.3, 2).double()
    assert torch.allclose(local, slowly(GALLERY, PICTURES, 0.3, 0.0, 2), atol=1e-7)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_two_banks_have_equal_shares(share: float) -> None:
    part = InverseConvolution(gallery_rate=0.4, query_rate=0.7, share=share)
    part.fit(Banks(QUERIES, PICTURES))
    asked, found = part.map(Scored(ASKED), Scored(GALLERY))
    sums = []
    for bank, rate in ((PICTURES, 0.4), (QUERIES, 0.7)):
        expected = float((PICTURES.double() @ bank.double().T).mean()) if share == 1 else 0.0
        sums.append(slowly(GALLERY, bank, rate, expected, round(share * len(bank))))
    assert torch.equal(asked, ASKED), "queries stay as they are"
    assert torch.allclose(found.double(), normalize(sums[0] / 2 + sums[1] / 2, dim=1), atol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours_and_the_cone_opens() -> None:
    part = InverseConvolution(gallery_rate=0.5, query_rate=0.5, share=0.5)
    part.fit(Banks(QUERIES, PICTURES))
    _, whole = part.map(Scored(ASKED), Scored(GALLERY))
    _, few = part.map(Scored(ASKED), Scored(GALLERY[2:4]))
    assert torch.allclose(few, whole[2:4], atol=1e-6)
    assert float((whole @ whole.T).mean()) < float((GALLERY @ GALLERY.T).mean()), "less degenerate"


@pytest.mark.parametrize("wrong", [{"gallery_rate": -1.0}, {"query_rate": float("nan")}, {"share": 0.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rates must be numbers"):
        InverseConvolution(**wrong)
