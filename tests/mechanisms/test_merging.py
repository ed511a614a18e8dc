"""Merging against numbers worked out by hand, and against a slow TIES that goes weight by weight."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.merging import added, task_vector, ties, total, trimmed

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
