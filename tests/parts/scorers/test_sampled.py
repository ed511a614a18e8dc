"""UATVR's scores and objectives by hand in float64, and that nothing is drawn where queries are ranked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.outputs import Outputs
from clplat.models.view import Towers
from clplat.parts.composers.sum import Sum
from clplat.parts.scorers.sampled import Sampled
from clplat.randomness import generator, seeded
from clplat.testing import ScorerContract, tiny_backbone, tiny_collate, tiny_domains, tiny_retriever

DRAW = generator(0, "sampled")


class TestBest(ScorerContract):
    def make(self) -> Sampled:
        return Sampled(number=1, samples=3, match="best", grid=1, heads=2)


class TestTokens(ScorerContract):
    def make(self) -> Sampled:
        return Sampled(number=2, samples=2, grid=1, heads=2)


def attached(**options: Any) -> Sampled:
    scorer = Sampled(**{"number": 2, "samples": 3, "grid": 1, **options})
    with seeded(0, "test"):
        scorer.attach(Towers(tiny_backbone()))
    return scorer.eval()


def rows(count: int) -> torch.Tensor:
    tokens = normalize(torch.randn(count, 3, 24, generator=DRAW), dim=2).flatten(1)
    mean = normalize(torch.randn(count, 24, generator=DRAW), dim=1)
    deviation = 0.1 + torch.rand(count, 24, generator=DRAW)
    weights = torch.randn(count, 3, generator=DRAW).softmax(1)
    return torch.cat([tokens, weights, mean, deviation], 1)


def test_scores_by_hand() -> None:
    queries, items = rows(2), rows(3)
    for match in ("tokens", "best", "mean"):
        scorer = attached(match=match)
        found, noise = scorer.block(queries, items), scorer.noise.double().numpy()
        for i, q in enumerate(queries.double().numpy()):
            for j, g in enumerate(items.double().numpy()):
                if match == "tokens":
                    cosines = q[:72].reshape(3, 24) @ g[:72].reshape(3, 24).T
                    expected = (cosines.max(1) @ q[72:75] + cosines.max(0) @ g[72:75]) / 2
                else:
                    one, other = (row[-48:-24] + noise * row[-24:] for row in (q, g))
                    one, other = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in (one, other))
                    cosines = one @ other.T
                    expected = cosines.max() if match == "best" else cosines.mean()
                assert float(found[i, j]) == pytest.approx(expected, abs=1e-5)


def test_objectives_by_hand() -> None:
    scorer, queries, items = attached(contrast=0.5, spread=0.2), rows(3), rows(3)
    batch, scale = SimpleNamespace(positive=torch.eye(3, 4).bool()), torch.tensor(5.0)
    with seeded(1, "draws"):
        found = scorer.terms(batch, Outputs(queries, items, scale))
    with seeded(1, "draws"):
        noise = [torch.randn(3, 3, 24).double() for _ in range(2)]
    drawn = [
        normalize(side[:, None, -48:-24] + n * side[:, None, -24:], dim=2).flatten(0, 1)
        for side, n in zip((queries.double(), items.double()), noise, strict=True)
    ]
    logits = (5.0 * drawn[0] @ drawn[1].T).numpy()
    total = 0.0
    for table in (logits, logits.T):
        for i in range(9):
            own = [j for j in range(9) if j // 3 == i // 3]
            total -= sum(table[i, j] - np.log(np.exp(table[i]).sum()) for j in own) / 3 / 9
    assert float(found["samples"]) == pytest.approx(0.5 * total / 2, abs=1e-5)
    apart = 0.0
    for side in (queries.double(), items.double()):
        mean, deviation = side[:, -48:-24], side[:, -24:]
        apart += float((0.5 * (mean**2 + deviation**2 - 1) - deviation.log()).sum(1).mean())
    assert float(found["spread"]) == pytest.approx(0.2 * apart, rel=1e-5)


def test_at_first_it_ranks_as_the_model_and_nothing_is_drawn() -> None:
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    made = [tiny_retriever(composer=Sum(), scorer=scorer).eval() for scorer in (None, Sampled(grid=1))]
    with torch.no_grad():
        bare, ours = (model(batch).scores() for model in made)
        again = made[1](batch).scores()
    assert torch.allclose(bare, ours, atol=1e-5) and torch.equal(ours, again)


@pytest.mark.parametrize("wrong", [{"match": "all"}, {"samples": 0}, {"spread": -1.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"match must be|needs number"):
        Sampled(**wrong)
