"""The geometry probe: its formulas by hand, and what it reads of a model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.parts.probes import Geometry
from clplat.parts.probes._formulas import alignment, drift, hubness, modality_gap, uniformity
from clplat.testing import ProbesContract
from clplat.testing.probes import tiny_views


class TestGeometry(ProbesContract):
    def make(self) -> Geometry:
        return Geometry(k=3)


@pytest.fixture
def clouds() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, y = (normalize(torch.randn(7, 3, generator=draw), dim=1) for _ in range(2))
    return x, y


def plain(rows: Tensor) -> list[list[float]]:
    listed: list[list[float]] = rows.double().tolist()
    return listed


def test_the_gap_is_the_distance_of_the_means(clouds: tuple[Tensor, Tensor]) -> None:
    x, y = map(plain, clouds)
    means = [[sum(row[d] for row in rows) / len(rows) for d in range(3)] for rows in (x, y[:4])]
    by_hand = math.sqrt(sum((a - b) ** 2 for a, b in zip(*means, strict=True)))
    assert modality_gap(clouds[0], clouds[1][:4]) == pytest.approx(by_hand, abs=1e-12)


def test_alignment_is_the_mean_square_of_pairs(clouds: tuple[Tensor, Tensor]) -> None:
    x, y = map(plain, clouds)
    squares = [sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(x, y, strict=True)]
    assert alignment(*clouds) == pytest.approx(sum(squares) / 7, abs=1e-12)
    assert alignment(clouds[0], clouds[0]) == 0.0


def test_uniformity_is_taken_over_distinct_pairs(clouds: tuple[Tensor, Tensor]) -> None:
    x = plain(clouds[0])
    values = []
    for i in range(7):
        for j in range(i + 1, 7):
            square = sum((a - b) ** 2 for a, b in zip(x[i], x[j], strict=True))
            values.append(math.exp(-2 * square))
    assert uniformity(clouds[0]) == pytest.approx(math.log(sum(values) / len(values)), abs=1e-12)
    assert uniformity(torch.ones(3, 2)) == 0.0, "a collapsed cloud"


def test_hubness_is_the_skewness_of_the_counts() -> None:
    nearest = torch.tensor([[0, 1], [0, 2], [0, 1], [0, -1]])
    counts = [4, 2, 1, 0, 0]  # five gallery rows; -1 counts nowhere
    mean = sum(counts) / 5
    second = sum((n - mean) ** 2 for n in counts) / 5
    third = sum((n - mean) ** 3 for n in counts) / 5
    assert hubness(nearest, 5) == pytest.approx(third / second**1.5, abs=1e-12)
    assert hubness(torch.tensor([[0], [1], [2]]), 3) == 0.0


def test_drift_is_one_minus_the_cosine_of_the_same_pictures(clouds: tuple[Tensor, Tensor]) -> None:
    x, y = map(plain, clouds)
    cosines = []
    for a, b in zip(x, y, strict=True):
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        cosines.append(dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b)))
    assert drift(*clouds) == pytest.approx(1 - sum(cosines) / 7, abs=1e-7)
    assert drift(clouds[0], torch.ones(7, 4)) is None, "unequal widths cannot be compared"


def test_it_reads_queries_targets_galleries_and_older_versions() -> None:
    untrained, trained = tiny_views()
    first, second = Geometry(k=3).measure(untrained), Geometry(k=3).measure(trained)
    assert first["drift"] == first["step drift"] == 0.0 < second["drift"] == second["step drift"]
    by_hand: dict[str, list[float]] = {"alignment": [], "hubness": [], "gap": []}
    for name, held in trained.sets.items():
        gallery, asked = trained.galleries[held.gallery.name].double(), trained.asked[name].double()
        row = {item.key: i for i, item in enumerate(held.gallery.items)}
        pairs = [(q, row[key]) for q, query in enumerate(held.queries) for key in query.targets]
        squares = [float((asked[q] - gallery[g]).square().sum()) for q, g in pairs]
        by_hand["alignment"].append(sum(squares) / len(squares))
        scores: Any = asked @ gallery.T
        for q, query in enumerate(held.queries):
            scores[q, row[query.reference.key]] = -9.0  # the protocol leaves the reference out
        by_hand["hubness"].append(hubness(scores.topk(3, dim=1).indices, len(gallery)))
        texts = trained.texts(sorted({text for query in held.queries for text in query.said})).double()
        by_hand["gap"].append(float((gallery.mean(0) - texts.mean(0)).norm()))
    for name, values in by_hand.items():
        assert second[name] == pytest.approx(sum(values) / len(values), abs=1e-6), name


@pytest.mark.parametrize("wrong", [{"k": 0}, {"most": 1}])
def test_what_cannot_be_measured_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Geometry(**wrong)
