"""GLSCL's scores and objectives by hand in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.view import Towers
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.sum import Sum
from clplat.parts.composers.text_only import TextOnly
from clplat.parts.scorers.shared_queries import SharedQueries, consistency, diversity
from clplat.randomness import generator, seeded
from clplat.testing import ScorerContract, tiny_backbone, tiny_collate, tiny_domains, tiny_retriever

DRAW = generator(0, "shared queries")


class TestFew(ScorerContract):
    def make(self) -> SharedQueries:
        return SharedQueries(number=3, grid=1, heads=2)


def attached(**options: Any) -> SharedQueries:
    scorer = SharedQueries(**{"number": 3, "grid": 2, **options})
    with seeded(0, "test"):
        scorer.attach(Towers(tiny_backbone()))
    return scorer.eval()


def rows(count: int, members: int, whole: bool) -> torch.Tensor:
    vectors = normalize(torch.randn(count, 5 + 3, 24, generator=DRAW), dim=2)
    vectors[:, 1 if whole else members : 5] = 0
    return vectors.flatten(1)


def test_the_scores_by_hand() -> None:
    scorer = attached(temperature=0.1, weight=0.7)
    queries, items = rows(2, 1, True), rows(3, 4, False)
    found = scorer.block(queries, items)
    for i, query in enumerate(queries.double().view(2, 8, 24).numpy()):
        for j, item in enumerate(items.double().view(3, 8, 24).numpy()):
            cosines = item[:4] @ query[0]
            weights = np.exp(cosines / 0.1) / np.exp(cosines / 0.1).sum()
            pooled = weights @ item[:4]
            local = sum(float(query[5 + k] @ item[5 + k]) for k in range(3)) / 3
            expected = query[0] @ pooled / np.linalg.norm(pooled) + 0.7 * local
            assert math.isclose(float(found[i, j]), expected, abs_tol=1e-5)


def test_objectives_by_hand() -> None:
    asked, shown = (normalize(torch.randn(4, 3, 5, generator=DRAW).double(), dim=2) for _ in range(2))
    apart = ((asked.mean(0) - shown.mean(0)) ** 2).mean()
    extra = sum((float((asked[:, k] * shown[:, k]).sum(1).mean()) - 0.75) ** 2 for k in range(3))
    assert math.isclose(float(consistency(asked, shown, 0.3)), float(apart) + 0.3 * extra, rel_tol=1e-9)
    gram = sum(one @ one.T for one in shown) / 4
    total = 0.0
    for k in range(3):
        for one in range(3):
            if k != one:
                total += max(0.0, float(0.1 + gram[k, one] - gram[k, k]))
                total += max(0.0, float(0.1 + gram[k, one] - gram[one, one]))
    assert math.isclose(float(diversity(shown)), total / 6, rel_tol=1e-9)
    same = shown[:, :1].expand(-1, 3, -1)
    assert float(diversity(same)) > float(diversity(shown)), "equal concepts cost most"


def test_concepts_are_the_shared_queries_at_first_and_then_of_what_is_read() -> None:
    scorer = SharedQueries(number=3, grid=1)
    retriever = tiny_retriever(composer=Sum(), scorer=scorer).eval()
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    with torch.no_grad():
        concepts = scorer.parts_of(retriever.encode_images(batch.pictures))[1]
        assert torch.allclose(concepts, normalize(scorer.queries, dim=1).expand_as(concepts), atol=1e-6)
        torch.nn.init.normal_(scorer.reads.other.out_proj.weight)
        moved = scorer.parts_of(retriever.encode_images(batch.pictures))[1]
    assert not torch.allclose(moved[0], moved[1], atol=1e-3)


def test_what_is_blind_sees_one_half_also_once_trained() -> None:
    """At first concepts are the same for all, which the contract cannot tell from blind."""
    scorer = SharedQueries(number=3, grid=1)
    retriever = tiny_retriever(composer=Sum(), scorer=scorer).eval()
    torch.nn.init.normal_(scorer.reads.other.out_proj.weight)
    batch, turned = tiny_collate()(tiny_domains()[0].train[:4]), [3, 2, 1, 0]
    shown, said = batch.pictures.part(range(4)), batch.texts
    with torch.no_grad():
        seen, told = retriever.encode_queries_by([ImageOnly(), TextOnly()], shown, said)
        other = retriever.encode_queries_by([TextOnly()], shown.part(turned), said)[0]
        words = retriever.encode_queries_by([ImageOnly()], shown, said.part(turned))[0]
    assert torch.allclose(other, told, atol=1e-6) and torch.allclose(words, seen, atol=1e-6)


def test_words_that_are_not_there_are_not_read() -> None:
    scorer = attached(grid=1)
    torch.nn.init.normal_(scorer.reads.other.out_proj.weight)
    towers = scorer.towers
    alone = scorer.text(towers.text(["red"], {"pooled", "tokens"}))
    beside = scorer.text(towers.text(["red", "a red circle on a blue square"], {"pooled", "tokens"}))
    assert torch.allclose(alone[0], beside[0], atol=1e-5)


@pytest.mark.parametrize("wrong", [{"number": 0}, {"temperature": 0.0}, {"weight": -1.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs number|weights must be"):
        SharedQueries(**wrong)
