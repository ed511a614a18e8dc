"""What a router is measured by, with choices that are known."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clplat.data.records import Picture
from clplat.evaluation.routing import RoutingProbe
from clplat.testing import tiny_domains


class Told:
    """A model that is told where pictures go: domain -> shares of two experts."""

    def __init__(self, plan: dict[str, list[float]], owners: Sequence[int]) -> None:
        self.plan, self.owners = plan, owners

    def shares(self, pictures: Sequence[Picture]) -> Any:
        return torch.tensor([self.plan[picture.key] for picture in pictures]), self.owners


def view(encoder: Any, version: int) -> Any:
    sets = {domain.name: domain.test for domain in tiny_domains()}
    return SimpleNamespace(encoder=encoder, version=version, sets=sets, inputs=lambda pictures: pictures)


def pictures(domain: int) -> list[str]:
    """Keys of what its queries show and ask for."""
    held = tiny_domains()[domain].test
    wanted = {key for query in held.queries for key in query.targets}
    shown = [query.reference for query in held.queries if query.reference is not None]
    answers = [item.picture for item in held.gallery.items if item.key in wanted and item.picture]
    return list(dict.fromkeys(picture.key for picture in (*shown, *answers)))


def told(shares: list[float], keys: list[str]) -> dict[str, list[float]]:
    return {key: shares for key in keys}


def test_right_wrong_and_away() -> None:
    first, second = pictures(0), pictures(1)
    plan = told([0.0, 1.0], first + second) | told([0.9, 0.1], first[:2]) | told([0.0, 0.0], first[2:3])
    found = RoutingProbe().measure(view(Told(plan, [0, 1]), 2))
    n = len(first)
    assert found["accuracy"] == pytest.approx(100 * (2 / n + 1) / 2)
    assert found["base"] == pytest.approx(100 * (1 / n) / 2) and "unseen base" not in found
    used = np.array([2 * 0.9, 2 * 0.1 + (n - 3) + len(second)])
    used /= used.sum()
    assert found["evenness"] == pytest.approx(-(used * np.log2(used)).sum(), abs=1e-6)
    assert found["experts"] == pytest.approx(((n - 1 + 2) / n + 1) / 2)
    # Before the second domain its pictures should go through the base; which expert they take says nothing.
    found = RoutingProbe().measure(view(Told(plan, [0, 1]), 1))
    assert found["accuracy"] == pytest.approx(100 * 2 / n) and found["unseen base"] == 0.0


def test_several_experts_of_one_domain_are_all_right() -> None:
    plan = told([0.4, 0.6], pictures(0)) | told([0.0, 0.0], pictures(1))
    assert RoutingProbe().measure(view(Told(plan, [0, 0]), 1))["accuracy"] == 100.0
    assert RoutingProbe().measure(view(Told(plan, [0, 1]), 1))["accuracy"] == 0.0
    assert RoutingProbe().measure(view(Told(plan, [0, 0]), 1))["unseen base"] == 100.0


def test_a_model_without_experts_has_no_numbers() -> None:
    assert RoutingProbe().measure(view(SimpleNamespace(), 1)) == {}
    assert RoutingProbe().measure(view(SimpleNamespace(shares=lambda pictures: None), 1)) == {}
