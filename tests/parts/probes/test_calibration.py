"""The calibration probe on a model whose uncertainty is set by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.mechanisms.distributions import Distribution
from clplat.parts.probes import Calibration
from clplat.parts.scorers.dot import Dot
from clplat.testing.probes import tiny_views


class Told(Dot):
    """The length of a query says how unsure it is."""

    def distribution(self, rows: torch.Tensor) -> Distribution:
        return Distribution(rows, rows.norm(dim=1, keepdim=True).expand_as(rows))


def view(scorer: Dot) -> Any:
    """Four queries, of which the second and the last find what is theirs among the best two of three."""
    names = ["a", "b", "c"]
    gallery = SimpleNamespace(name="g", items=[SimpleNamespace(key=name) for name in names])
    queries = [SimpleNamespace(targets=(name,)) for name in ("a", "b", "c", "c")]
    best = torch.tensor([[1, 2], [1, 0], [0, 1], [0, 2]])
    return SimpleNamespace(
        sets={"d": SimpleNamespace(gallery=gallery, queries=queries)},
        nearest=lambda name, k: best[:, :k],
        asked={},
        galleries={"g": torch.eye(3)},
        encoder=SimpleNamespace(scorer=scorer),
    )


def test_numbers_by_hand_of_what_the_scorer_says() -> None:
    one = view(Told())
    one.asked["d"] = torch.tensor([[4.0, 0, 0], [0, 1.0, 0], [0, 0, 2.0], [0, 3.0, 0]])
    found = Calibration(k=2, bins=2).measure(one)
    # Wrong ones are unsure by 4 and 2, right ones by 1 and 3: three of four pairs are told.
    assert found["errors"] == pytest.approx(75.0)
    # Recalls of the surer and the less sure half are a half each.
    assert found["spearman"] == found["fit"] == 0.0
    # The best answers score 0, 1, 0 and 0.
    assert found["errors by score"] == pytest.approx(75.0)


def test_bins_that_fall_are_calibrated() -> None:
    one = view(Told())
    one.asked["d"] = torch.tensor([[4.0, 0, 0], [0, 1.0, 0], [0, 0, 3.0], [0, 2.0, 0]])
    found = Calibration(k=2, bins=2).measure(one)
    assert (found["spearman"], found["fit"], found["minus spearman x fit"]) == (-1.0, 1.0, 1.0)
    assert found["errors"] == 100.0


def test_a_model_of_points_is_unsure_where_its_best_answer_scores_low() -> None:
    found = Calibration(k=2, bins=3).measure(tiny_views()[1])
    assert found["errors"] == found["errors by score"]


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="bins at least 2"):
        Calibration(bins=1)
