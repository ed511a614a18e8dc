"""ProbVLM's objective and scores against their formulas in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import gamma

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.outputs import Outputs
from clplat.models.view import Towers
from clplat.parts.scorers.distributions import Distributions
from clplat.randomness import seeded
from clplat.testing import ScorerContract, tiny_backbone


class TestExpected(ScorerContract):
    def make(self) -> Distributions:
        return Distributions(compare="expected", hidden=8)


def attached(**options: Any) -> Distributions:
    scorer = Distributions(hidden=8, **options)
    with seeded(0, "test"):
        scorer.attach(Towers(tiny_backbone()))
        torch.nn.init.normal_(scorer.of_queries.mean[2].weight, std=0.1)
        torch.nn.init.normal_(scorer.of_items.mean[2].weight, std=0.1)
    return scorer.eval()


def rows(scorer: Distributions, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    q, g = torch.randn(2, count, 24, generator=draw)
    asked = scorer.query(ImageFeatures(pooled=q), TextFeatures(pooled=q), lambda image, _: image.pooled)
    return asked, scorer.item(ImageFeatures(pooled=g), lambda found: found.pooled)


def parts(made: torch.Tensor) -> Any:
    return np.split(made.detach().double().numpy(), 4, axis=1)


def test_the_objective_by_hand() -> None:
    scorer = attached(likelihood=0.3, cross=0.2, l1=0.7)
    asked, items = rows(scorer)
    found = scorer.terms(None, Outputs(asked, items, torch.tensor(1.0)))["distribution"].detach()

    def fit(side: Any, x: Any) -> Any:
        _, m, a, b = side
        nll = (np.abs(x - m) / a) ** b - np.log(b / (2 * a * gamma(1 / b)))
        return 0.7 * np.abs(x - m).mean() + 0.3 * nll.mean()

    q, g = parts(asked), parts(items)
    expected = fit(q, q[0]) + fit(g, g[0]) + 0.2 * (fit(q, g[0]) + fit(g, q[0]))
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_scores_by_hand() -> None:
    for compare in ("embeddings", "means", "expected"):
        scorer = attached(compare=compare)
        asked, items = rows(scorer)
        (z, m, a, b), (y, n, c, d) = parts(asked), parts(items)
        if compare == "embeddings":
            expected = z @ y.T
        elif compare == "means":
            expected = (m / np.linalg.norm(m, axis=1)[:, None]) @ (n / np.linalg.norm(n, axis=1)[:, None]).T
        else:
            wide = (a**2 * gamma(3 / b) / gamma(1 / b)).sum(1)[:, None]
            more = (c**2 * gamma(3 / d) / gamma(1 / d)).sum(1)
            expected = 1 - (((m[:, None] - n) ** 2).sum(2) + wide + more) / 2
        np.testing.assert_allclose(
            scorer.block(asked, items).detach().numpy(), expected, rtol=1e-4, atol=1e-5
        )


def test_likelihoods_train_nothing_of_the_model_behind_a_cosine() -> None:
    for compare, reached in (("embeddings", False), ("means", True)):
        scorer = attached(compare=compare)
        q = torch.randn(3, 24, requires_grad=True)
        asked = scorer.query(ImageFeatures(pooled=q), TextFeatures(pooled=q), lambda image, _: image.pooled)
        term = scorer.terms(None, Outputs(asked, rows(scorer)[1], torch.tensor(1.0)))["distribution"]
        term.backward()  # type: ignore[no-untyped-call]
        assert (q.grad is not None and bool(q.grad.any())) is reached


def test_at_first_it_is_the_model_without_it() -> None:
    scorer = Distributions()
    scorer.attach(Towers(tiny_backbone()))
    asked, items = rows(scorer.eval())
    q, g = asked[:, :24], items[:, :24]
    assert torch.equal(scorer.block(asked, items), q @ g.T - torch.zeros(3, 3))
    scorer.compare = "means"
    assert torch.allclose(scorer.block(asked, items), q @ g.T, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"compare": "all"}, {"dropout": 1.0}, {"cross": -1.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"compare must be|needs hidden"):
        Distributions(**wrong)
