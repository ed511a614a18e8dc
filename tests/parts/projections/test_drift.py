"""Drift compensation by hand: one vector for all, or that of the examples near a row."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.mechanisms.drift import drift
from clplat.parts.projections.drift import Drift
from clplat.testing import ProjectionContract

START = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
END = START + torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], dtype=torch.float64)


def test_examples_weigh_by_their_distance_from_the_row() -> None:
    row = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    weights = [math.exp(-square / (2 * 1.5**2)) for square in (2.0, 5.0, 10.0)]
    expected = [(weights[0] - weights[2]) / sum(weights), 2 * weights[1] / sum(weights)]
    assert drift(row, START, END, 1.5)[0].tolist() == pytest.approx(expected, rel=1e-12)
    assert drift(row, START, END)[0].tolist() == pytest.approx([0.0, 2 / 3])


def test_far_from_all_examples_the_nearest_one_counts() -> None:
    """The public code divides 0 by 0 there."""
    far = torch.tensor([[300.0, 0.0]], dtype=torch.float64)
    assert drift(far, START, END, 0.2).tolist() == [[0.0, 2.0]]


def test_new_queries_go_back_and_stored_vectors_come_forward() -> None:
    """The mean of both is taken back in the other direction, and rows have length 1 before and after."""
    old = normalize(torch.tensor([[1.0, 0.2], [0.3, 1.0]]), dim=1)
    new = normalize(torch.tensor([[1.0, 0.8], [0.1, 1.0]]), dim=1)
    back, forth = Drift(), Drift(moves="gallery", pairs="pictures")
    assert (back.maps, forth.maps) == ("query", "gallery")
    assert (back.reads, forth.reads) == ({"queries"}, {"pictures"})
    for projection, sign, rows in ((back, -1, new), (forth, 1, old)):
        projection.fit(new, old)
        expected = normalize(rows + sign * (new - old).mean(0), dim=1)
        assert torch.allclose(projection(3 * rows), expected, atol=1e-6)


def test_near_examples_undo_what_differs_from_place_to_place() -> None:
    draw = torch.Generator().manual_seed(0)
    places = normalize(torch.randn(2, 16, generator=draw), dim=1).repeat_interleave(30, 0)
    moves = normalize(torch.randn(2, 16, generator=draw), dim=1).repeat_interleave(30, 0)
    old = normalize(places + 0.05 * torch.randn(60, 16, generator=draw), dim=1)
    new = normalize(old + moves, dim=1)
    kept = {}
    for sigma in (None, 0.2):
        projection = Drift(sigma=sigma)
        projection.fit(new[::2], old[::2])
        kept[sigma] = float((projection(new[1::2]) * old[1::2]).sum(1).mean())
    assert kept[0.2] > 0.95 > kept[None] + 0.1, kept


def test_what_has_no_drift_is_refused() -> None:
    with pytest.raises(UserError, match="widths 3 and 2 have none"):
        Drift().fit(torch.eye(3), torch.eye(3)[:, :2])
    with pytest.raises(ValueError, match="sigma must be above 0, not 0"):
        Drift(sigma=0)
    with pytest.raises(ValueError, match="moves must be one of queries, gallery, not 'all'"):
        Drift(moves="all")  # type: ignore[arg-type]


class TestDrift(ProjectionContract):
    def make(self) -> Drift:
        return Drift()


class TestNear(ProjectionContract):
    def make(self) -> Drift:
        return Drift(moves="gallery", pairs="pictures", sigma=1.0)
