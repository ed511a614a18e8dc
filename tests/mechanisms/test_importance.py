"""Importance of weights against gradients that are worked out by hand, example by example, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from clplat.mechanisms.importance import fisher, scaled, uniform
from clplat.mechanisms.importance_in_training import RunningFisher
from clplat.randomness import generator
from clplat.testing import TinyTowers, tiny_domains, tiny_learner
from clplat.training.learner import Learner

ROWS = torch.randn(7, 3, generator=generator(0, "rows"), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 0])


def classifier(data: list[tuple[Tensor, Tensor]]) -> Learner:
    model = nn.Linear(3, 2, bias=False).double()
    model.weight.data = torch.tensor([[0.3, -0.2, 0.5], [-0.1, 0.4, 0.2]], dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Learner(model, optimizer, predict_fn=lambda batch: model(batch[0]), dataset=data)


def gradient(learner: Learner, row: Tensor, label: int) -> Tensor:
    """Of log p(label) of a linear classifier: (onehot - p) x^T."""
    shares = (learner.model.weight.detach() @ row).softmax(0)  # type: ignore[operator]
    return torch.outer(torch.eye(2, dtype=torch.float64)[label] - shares, row)


def test_the_empirical_matrix_squares_single_examples() -> None:
    learner = classifier([*zip(ROWS, LABELS, strict=True)])
    found = fisher(learner, learner.dataset, batch_size=3)["weight"]
    squares = [gradient(learner, x, int(y)).square() for x, y in zip(ROWS, LABELS, strict=True)]
    assert torch.allclose(found, torch.stack(squares).mean(0), rtol=1e-12)
    some = fisher(learner, learner.dataset, batch_size=3, examples=2)["weight"]
    assert torch.allclose(some, (squares[0] + squares[3]) / 2, rtol=1e-12), "spread evenly"


def test_the_true_matrix_draws_labels_from_the_model() -> None:
    row = ROWS[0]
    learner = classifier([(row, torch.tensor(1))] * 200)
    found = fisher(learner, learner.dataset, 10, generator(0, "draws"))["weight"]
    shares = (learner.model.weight.detach() @ row).softmax(0)  # type: ignore[operator]
    first, second = (gradient(learner, row, label).square() for label in range(2))
    drawn = (found - first) / (second - first)  # the share of the second label
    assert float(drawn.std()) < 1e-9 and abs(float(drawn.mean()) - float(shares[1])) < 0.1
    assert 0.2 < float(shares[1]) < 0.8, "though the data say 1 alone"


def test_candidates_of_a_batch_are_the_classes_of_retrieval() -> None:
    model, data = TinyTowers(), tiny_domains()[0].train
    learner = tiny_learner(model)
    found = fisher(learner, data[:8], batch_size=4)
    sums = {name: torch.zeros_like(value) for name, value in found.items()}
    for start in (0, 4):
        batch = learner.collate([*data[start : start + 4]])
        for row in range(4):
            made = model(batch)
            weights = (made.scale * made.query @ made.candidates.T).exp()[row]
            others = weights[batch.valid[row] & ~batch.positive[row]].sum()
            likelihood = (weights[row] / (weights[row] + others)).log()
            for name in sums:
                one = torch.autograd.grad(likelihood, model.get_parameter(name), retain_graph=True)[0]
                sums[name] += one.square() / 8
    assert found.keys() == {"picture.weight", "picture.bias", "text.weight", "text.bias"}
    assert all(torch.allclose(found[name], sums[name], rtol=1e-3, atol=1e-7) for name in sums)
    assert all(p.grad is None for p in model.parameters()), "the pass leaves no gradients behind"


def test_labels_are_asked_for_unless_they_are_drawn() -> None:
    learner = classifier([(row, row) for row in ROWS])
    with pytest.raises(TypeError, match=r"needs batches \(x, y, \.\.\.\) with integer classes y"):
        fisher(learner, learner.dataset, 4)
    assert fisher(learner, learner.dataset, 4, generator(0, "draws"))["weight"].shape == (2, 3)


def test_scaled_has_mean_one_and_uniform_is_one() -> None:
    found = scaled({"a": torch.tensor([1e-9, 3e-9]), "b": torch.tensor([[2e-9]])})
    assert torch.cat([value.flatten() for value in found.values()]).tolist() == pytest.approx([0.5, 1.5, 1.0])
    assert scaled({}) == {} and not scaled({"a": torch.zeros(2)})["a"].any()
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    assert {name: one.tolist() for name, one in uniform(layer).items()} == {"weight": [[1.0, 1.0]]}


def test_the_running_matrix_follows_a_weight_that_grows() -> None:
    running, layer = RunningFisher(0.5), nn.Linear(1, 1, bias=False)
    layer.weight.grad = torch.tensor([[2.0]])
    running.observe(layer)
    layer.weight = nn.Parameter(torch.zeros(2, 1))
    layer.weight.grad = torch.tensor([[0.0], [4.0]])
    running.observe(layer)
    assert running.mean["weight"].tolist() == [[1.0], [8.0]]
