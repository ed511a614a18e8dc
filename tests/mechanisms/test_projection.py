"""Projections against slow references: active sets by enumeration, singular values by numpy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from avalanche.training.plugins import GEMPlugin
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from clplat.mechanisms.layer_inputs import input_covariances
from clplat.mechanisms.projection import (
    ConeSteps,
    FreeSteps,
    cone_weights,
    into_cone,
    leading_directions,
    new_directions,
)
from clplat.training.learner import Learner


def slow_weights(references: np.ndarray, gradient: np.ndarray, margin: float) -> np.ndarray:
    """The best of all choices of which weights are at their bound."""
    gram, slope, count = references @ references.T, references @ gradient, len(references)
    best, value = np.full(count, margin), np.inf
    for size in range(count + 1):
        for free in combinations(range(count), size):
            v, rest = np.full(count, margin), [k for k in range(count) if k not in free]
            if free:
                right = -slope[[*free]] - gram[np.ix_(free, rest)] @ v[rest]
                v[[*free]] = np.linalg.solve(gram[np.ix_(free, free)], right)
            if (v >= margin - 1e-12).all() and v @ gram @ v / 2 + slope @ v < value:
                best, value = v, v @ gram @ v / 2 + slope @ v
    return best


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_a_cone_is_entered_at_its_nearest_point(seed: int, count: int, margin: float) -> None:
    draw = np.random.default_rng(seed)
    references, gradient = draw.normal(size=(count, 6)), draw.normal(size=6)
    parts = [torch.tensor(gradient[:4]).reshape(2, 2).clone(), torch.tensor(gradient[4:])]
    into_cone(parts, [[torch.tensor(r[:4]).reshape(2, 2), torch.tensor(r[4:])] for r in references], margin)
    found = torch.cat([part.flatten() for part in parts]).numpy()
    violated = (references @ gradient < 0).any()
    expected = gradient + (slow_weights(references, gradient, margin) @ references if violated else 0.0)
    assert np.allclose(found, expected, atol=1e-6)
    assert (references @ found).min() > -1e-6


def test_the_program_is_avalanches() -> None:
    draw = torch.Generator().manual_seed(0)
    references, gradient = torch.randn(3, 50, generator=draw), torch.randn(50, generator=draw)
    theirs = GEMPlugin(patterns_per_experience=1, memory_strength=0.5)
    theirs.G = references
    expected = theirs.solve_quadprog(gradient)
    into_cone([gradient], [[row] for row in references], margin=0.5)
    assert torch.allclose(gradient, expected, atol=1e-3)  # it adds 0.001 to the diagonal


def test_parallel_and_empty_references_are_no_trouble() -> None:
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    gradient = torch.tensor([-1.0, 3.0], dtype=torch.float64)
    into_cone([gradient], [[row] for row in rows])
    assert torch.allclose(gradient, torch.tensor([0.0, 3.0], dtype=torch.float64), atol=1e-6)
    assert not cone_weights(torch.eye(2), torch.tensor([1.0, 0.0])).any()


def columns(seed: int, count: int = 30) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(8, 3)) @ draw.normal(size=(3, count)) + 0.1 * draw.normal(size=(8, count))


def slow_directions(matrix: np.ndarray, basis: np.ndarray | None, share: float) -> np.ndarray:
    """The published update, by singular values of all inputs."""
    left = matrix if basis is None else matrix - basis @ basis.T @ matrix
    vectors, values, _ = np.linalg.svd(left, full_matrices=False)
    whole = (np.linalg.svd(matrix)[1] ** 2).sum()
    held, count = (whole - (values**2).sum()) / whole, 0
    while held < share:
        held, count = held + values[count] ** 2 / whole, count + 1
    new = vectors[:, :count]
    return new if basis is None else np.hstack([basis, new])


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_basis_grows_to_its_share_of_what_is_new(share: float) -> None:
    basis: Tensor | None = None
    slow: np.ndarray | None = None
    for seed in range(3):
        matrix = columns(seed)
        basis = leading_directions(torch.tensor(matrix @ matrix.T), basis, share)
        slow = slow_directions(matrix, slow, share)
        assert basis.shape == slow.shape, seed
        assert np.allclose(basis @ basis.T, slow @ slow.T, atol=1e-8), "the same subspace"
        assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]).double(), atol=1e-10)
    again = leading_directions(torch.tensor(matrix @ matrix.T), basis, share)
    assert basis is not None and again.shape == basis.shape, "what is held adds nothing"


def test_new_directions_are_orthonormal_and_hold_the_vectors() -> None:
    draw = torch.Generator().manual_seed(0)
    first = torch.randn(4, 20, generator=draw)
    first = torch.cat([first[:1], first[:1], first])  # twice the same
    basis = new_directions(first, None)
    second = torch.cat([first[:2], torch.randn(2, 20, generator=draw)])
    whole = torch.cat([basis, new_directions(second, basis)])
    assert basis.shape == (4, 20) and whole.shape == (6, 20)
    assert torch.allclose(whole @ whole.T, torch.eye(6), atol=1e-5)
    assert torch.allclose(second @ whole.T @ whole, second, atol=1e-4)
    assert new_directions(second, basis, most=1).shape == (1, 20)
    assert not len(new_directions(second, whole)) and not len(new_directions(second, basis, most=0))


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_steps_stay_free_of_a_direction_whatever_the_optimizer(name: str) -> None:
    layer = nn.Linear(3, 2, bias=False)
    start, held = layer.weight.detach().clone(), torch.tensor([0.6, 0.8, 0.0])

    def project(changes: dict[str, Tensor]) -> None:
        changes["weight"].sub_(torch.outer(changes["weight"] @ held, held))

    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(layer.parameters(), lr=0.1, weight_decay=0.1, **options)
    steps = FreeSteps(project)
    for _ in range(5):
        optimizer.zero_grad()
        (layer(torch.eye(3)) - 1.0).square().sum().backward()
        steps.before_step(layer)
        assert float((layer.weight.grad @ held).abs().max()) < 1e-6
        optimizer.step()
        steps.after_step(layer)
    moved = layer.weight.detach() - start
    assert float((moved @ held).abs().max()) < 1e-6 < float(moved.norm())


def test_inputs_of_convolutions_are_patches() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(12, 2)).double()
    pictures = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    learner = Learner(model, predict_fn=model, collate_fn=torch.stack)
    found = input_covariances(learner, [*pictures], 2)
    assert found.keys() == {"0.weight", "2.weight"}
    padded = nn.functional.pad(pictures, (1, 1, 1, 1))
    patches = [padded[n, :, i : i + 3, j : j + 3].flatten() for n in range(5) for i in (0, 2) for j in (0, 2)]
    expected = sum(torch.outer(patch, patch) for patch in patches)
    assert torch.allclose(found["0.weight"].double(), torch.as_tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("optimizer", "bent"), [(torch.optim.SGD, False), (torch.optim.AdamW, True)])
def test_a_step_agrees_with_what_its_gradient_agrees_with(
    optimizer: type[torch.optim.Optimizer], bent: bool
) -> None:
    """AdamW's first step is the gradient's sign: (-1, 2.5) agrees with (2, 1), its signs do not."""
    reference, free, held = torch.tensor([2.0, 1.0]), *(nn.Parameter(torch.zeros(2)) for _ in range(2))
    steps = ConeSteps()
    for weight in (free, held):
        weight.grad = torch.tensor([-1.0, 2.5])
        if weight is held:
            steps.before_step([held], [[reference]])
        optimizer([weight], lr=0.1).step()
    steps.after_step()
    assert (float(-free.detach() @ reference) < 0) == bent
    assert float(-held.detach() @ reference) > -1e-6
    assert torch.equal(free, held) != bent, "a step that agrees stays as it is"
