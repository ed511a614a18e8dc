"""Merging against numbers worked out by hand, and against a slow TIES that goes weight by weight."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.merging import (
    added,
    arc,
    dropped,
    greedy_soup,
    isotropic,
    mean,
    task_vector,
    ties,
    total,
    trimmed,
    weighted_mean,
)
from clplat.randomness import generator

ONE = {"a": torch.tensor([4.0, -1.0, 0.5]), "b": torch.tensor([[2.0, -3.0]])}
TWO = {"a": torch.tensor([-2.0, -5.0, 0.1]), "b": torch.tensor([[1.0, 0.2]])}


def test_a_vector_is_a_difference_of_floats() -> None:
    start = {"w": torch.ones(2), "seen": torch.tensor(3)}
    end = {"w": torch.tensor([1.5, 0.0]), "seen": torch.tensor(9)}
    vector = task_vector(start, end)
    assert vector.keys() == {"w"} and vector["w"].tolist() == [0.5, -1.0]
    assert added(start, vector, 2.0)["w"].tolist() == [2.0, -1.0]
    assert total([vector, {"v": torch.ones(1)}, vector])["w"].tolist() == [1.0, -2.0]


@pytest.mark.parametrize("end", [{}, {"w": torch.ones(3)}, {"w": torch.ones(2), "v": torch.ones(1)}])
def test_models_of_two_structures_are_not_merged(end: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"of one structure can be merged, and they differ in '[wv]'"):
        task_vector({"w": torch.ones(2)}, end)


def test_trimming_looks_at_the_whole_vector() -> None:
    cut = trimmed(ONE, 0.4)  # two of five: 4 and -3
    assert cut["a"].tolist() == [4.0, 0.0, 0.0] and cut["b"].tolist() == [[0.0, -3.0]]
    assert all(torch.equal(trimmed(ONE, 1.0)[name], ONE[name]) for name in ONE)
    assert not any(tensor.any() for tensor in trimmed(ONE, 0.1).values())


def test_ties_by_hand() -> None:
    # kept of ONE: 4, -3, 2; of TWO: -2, -5, 1. Masses: a: 2, -5, 0; b: 3, -3.
    merged = ties([ONE, TWO], 0.6)
    assert merged["a"].tolist() == [4.0, -5.0, 0.0]
    assert merged["b"].tolist() == [[1.5, -3.0]]


def slow_ties(vectors: list[dict[str, Tensor]], density: float) -> dict[str, list[float]]:
    cut = []
    for vector in vectors:
        entries = sorted(
            (abs(v) for t in vector.values() for v in t.double().flatten().tolist()), reverse=True
        )
        least = entries[int(density * len(entries)) - 1]
        cut.append(
            {n: [v if abs(v) >= least else 0.0 for v in t.double().tolist()] for n, t in vector.items()}
        )
    merged = {}
    for name in vectors[0]:
        merged[name] = []
        for entries in zip(*(one[name] for one in cut), strict=True):
            positive = sum(entries) > 0
            agreeing = [v for v in entries if v != 0 and (v > 0) == positive]
            merged[name].append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    return merged


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_ties_against_a_slow_one(density: float) -> None:
    draw = torch.Generator().manual_seed(0)
    vectors = [
        {"a": torch.randn(40, generator=draw), "b": 3 * torch.randn(20, generator=draw)} for _ in range(3)
    ]
    found, slow = ties(vectors, density), slow_ties(vectors, density)
    for name, values in slow.items():
        assert found[name].tolist() == pytest.approx(values, rel=1e-6), name


def test_one_vector_is_only_trimmed() -> None:
    merged = ties([ONE], 0.6)
    assert all(torch.equal(merged[name], trimmed(ONE, 0.6)[name]) for name in ONE)


def test_no_mass_takes_the_sign_of_most_weights() -> None:
    left, right = {"w": torch.tensor([1.0, 2.0, 3.0])}, {"w": torch.tensor([-1.0, 2.0, 3.0])}
    assert ties([left, right], 1.0)["w"].tolist() == [1.0, 2.0, 3.0]


def test_dare_drops_by_chance_and_keeps_the_mean() -> None:
    vector = {"a": torch.ones(100, 50), "b": torch.full((2000,), -3.0)}
    found = dropped(vector, 0.9, generator(0, "drop"))
    assert found["a"].unique().tolist() == pytest.approx([0.0, 10.0])
    assert float(found["a"].mean()) == pytest.approx(1.0, abs=0.15)
    assert float((found["b"] == 0).float().mean()) == pytest.approx(0.9, abs=0.03)
    again = dropped(vector, 0.9, generator(0, "drop"))
    assert all(torch.equal(found[name], again[name]) for name in found), "of the generator alone"
    assert torch.equal(dropped(vector, 0.0, generator(0, "drop"))["b"], vector["b"])


def test_fisher_weights_each_weight_by_hand() -> None:
    fishers = [{"a": torch.tensor([1.0, 0.0, 2.0])}, {"a": torch.tensor([3.0, 0.0, 0.0])}]
    merged = weighted_mean([ONE, TWO], fishers)
    # (4 - 3 * 2) / 4; of the second neither knows, the third is the first model's; b has no matrix.
    assert merged["a"].tolist() == pytest.approx([-0.5, -3.0, 0.5], abs=1e-5)
    assert merged["b"].flatten().tolist() == pytest.approx([1.5, -1.4])
    grown = weighted_mean([{"w": torch.tensor([2.0, 4.0])}] * 2, [{"w": torch.ones(1)}, {"w": torch.ones(2)}])
    assert grown["w"].tolist() == pytest.approx([2.0, 4.0])


def test_isotropic_levels_the_singular_values() -> None:
    one, two = torch.diag(torch.tensor([5.0, 0.0, 1.0])), torch.diag(torch.tensor([0.0, 3.0, 0.0]))
    merged = isotropic([{"w": one, "b": torch.ones(2)}, {"w": two, "b": torch.zeros(2)}])
    assert torch.allclose(merged["w"], 3 * torch.eye(3), atol=1e-5)  # (5 + 3 + 1) / 3
    assert merged["b"].tolist() == [0.5, 0.5]
    draw = generator(0, "kernel")
    kernels = [{"w": torch.randn(4, 2, 3, 3, generator=draw, dtype=torch.float64)} for _ in range(3)]
    matrix = sum(kernel["w"] for kernel in kernels).reshape(4, 18)  # type: ignore[union-attr]
    values = torch.linalg.svdvals(isotropic(kernels)["w"].reshape(4, 18))
    assert torch.allclose(values, torch.linalg.svdvals(matrix).mean().expand(4))


def test_an_arc_keeps_the_angle_in_shares() -> None:
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    assert arc(start, end, 1 / 3).tolist() == pytest.approx([3**0.5, 1.0])  # 30 degrees
    assert arc(start, 3 * start, 0.5).tolist() == [4.0, 0.0]
    assert arc(torch.zeros(2), end, 0.5).tolist() == [0.0, 1.0]
    assert arc(start, end, 0.0).tolist() == [2.0, 0.0] and arc(start, end, 1.0).tolist() == pytest.approx(
        [0, 2]
    )


def test_a_greedy_soup_takes_what_does_not_hurt() -> None:
    models = [{"w": torch.tensor([value])} for value in (9.0, 4.0, 1.0)]

    def score(model: dict[str, Tensor]) -> float:
        return -abs(float(model["w"]) - 2.5)

    # 4 and 1 are as near; (4 + 1) / 2 is the goal, and 9 would pull away from it.
    assert greedy_soup(models, score) == [1, 2]  # type: ignore[arg-type]
    assert mean(models)["w"].item() == pytest.approx(14 / 3)
