"""Stored vectors come to the new space with what is stored beside them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.projections import SideNetwork
from clplat.testing import ProjectionContract


class Given:
    """Pairs that are given; the old space lost two of four dimensions, which the side vectors have."""

    def __init__(self, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.new = normalize(torch.randn(300, 4, generator=draw), dim=1)
        self.old = normalize(self.new[:, :2], dim=1)
        self.beside = self.new[:, 2:] * 3

    def pictures(self, space: str = "stored") -> tuple[Tensor, Tensor]:
        return self.new, self.old

    def side(self, encoder: str = "base") -> Tensor:
        assert encoder == "base"
        return self.beside


def right(mapped: Tensor, new: Tensor) -> float:
    return float(((new @ mapped.T).argmax(1) == torch.arange(len(new))).float().mean())


def test_side_vectors_hold_what_the_old_model_did_not_keep() -> None:
    with_side, without, held = SideNetwork(64, 400, 5e-3), SideNetwork(64, 400, 5e-3, side="none"), Given(1)
    with_side.learn(Given())  # type: ignore[arg-type]
    without.learn(Given())  # type: ignore[arg-type]
    stored = {"base": held.beside}
    assert (with_side.stores, without.stores) == ({"base"}, frozenset())
    kept, lost = right(with_side.map(held.old, stored), held.new), right(without.map(held.old, {}), held.new)
    assert kept > 0.8 > 0.2 > lost, (kept, lost)


def test_it_is_the_formula() -> None:
    projection, held = SideNetwork(8, 30), Given()
    projection.learn(held)  # type: ignore[arg-type]
    state = {name: value.double() for name, value in projection.state_dict().items()}
    for i in range(3):
        x = held.old[i].double()
        seen = torch.cat([x, held.beside[i].double()])
        hidden = [
            max(0.0, float(sum(seen[k] * state["first"][k, h] for k in range(4)) + state["shift"][h]))
            for h in range(8)
        ]
        y = x @ state["rotation"] + sum(hidden[h] * state["second"][h] for h in range(8))
        found = projection.map(held.old[i : i + 1], {"base": held.beside[i : i + 1]})[0]
        assert torch.allclose(found.double(), y / y.norm(), atol=1e-6)


def test_no_step_is_the_rotation() -> None:
    projection = SideNetwork(steps=0, side="none")
    eye = torch.eye(3)
    projection.fit(eye, eye.flip(0))
    assert torch.allclose(projection(eye.flip(0)), eye, atol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden from 1"):
        SideNetwork(hidden=0)
    with pytest.raises(ValueError, match="side must be"):
        SideNetwork(side="other")  # type: ignore[arg-type]
    projection = SideNetwork(steps=1)
    projection.learn(Given())  # type: ignore[arg-type]
    with pytest.raises(UserError, match="rows of width 4, not 2"):
        projection(Given().old)


class TestSideNetwork(ProjectionContract):
    def make(self) -> SideNetwork:
        return SideNetwork(hidden=16, steps=20)
