"""Feature replay: what is read, what the loss of generated features is, and what the alignment trains."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clplat.errors import UserError
from clplat.mechanisms.late_features import late_features, late_loss, of_one_length
from clplat.parts.adapters.full import Full
from clplat.parts.composers.combiner import Combiner
from clplat.parts.heads.matryoshka import Matryoshka
from clplat.testing import tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from clplat.training.learner import Learner
from strategies import FeatureReplay

DATA = tiny_domains()[0].train[:12]
BATCH = tiny_collate()(DATA)


def test_features_of_a_batch_have_the_batchs_own_loss() -> None:
    model = tiny_retriever(Full(last=1), Combiner(8, 16)).eval()
    rows = late_features(tiny_learner(model), DATA, batch_size=5)[""]
    assert rows.shape == (12, 3 * 24)
    made = model(BATCH)
    logits = float(made.scale) * made.query.double() @ made.candidates[:12].double().T
    expected = -float(logits.log_softmax(1).diagonal().mean().detach())
    found = late_loss(model, rows, [""] * 12)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)
    free = {name: p for name, p in model.named_parameters() if p.requires_grad}
    reached = torch.autograd.grad(found, [*free.values()], allow_unused=True)
    names = [name for name, slope in zip(free, reached, strict=True) if slope is not None]
    assert names and len(names) < len(free) and all(name.startswith("composer.") for name in names)


def test_the_towers_are_slow_and_a_head_is_refused() -> None:
    (group,) = FeatureReplay(slow=0.1).groups(["backbone.model.a", "composer.b"])
    assert (group.names, group.lr_factor) == (["backbone.model.a"], 0.1)
    assert FeatureReplay().groups(["backbone.model.a"]) == []
    model = tiny_retriever(head=Matryoshka(dims=[12]))
    with pytest.raises(UserError, match="use no head"):
        late_features(tiny_learner(model), DATA)


def test_a_classifier_is_aligned_on_its_classes_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        x = torch.eye(4)[torch.arange(60) % 3] + 0.05 * torch.randn(60, 4)
    y = torch.arange(60) % 3
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]))
    learner.loss_fn = lambda batch, outputs: F.cross_entropy(outputs, batch[1])
    strategy, below = FeatureReplay(when="after", steps=60, rate=0.1), model[0].weight.detach().clone()
    for number, classes in enumerate(([0, 1], [2])):
        learner.begin(number)
        learner.dataset = [(a, b) for a, b in zip(x, y, strict=True) if int(b) in classes]
        strategy.after_experience(learner, None)
        made = model(x)
        own = F.cross_entropy(made, y) + sum(strategy.loss(learner, (x, y), made).values())
        assert float((own - F.cross_entropy(made, y)).detach()) == 0, "a batch of all classes leaves none out"
    assert float((model(x).argmax(1) == y).float().mean()) == 1.0, "also of classes whose data are gone"
    assert torch.equal(model[0].weight, below) and model[2].weight.grad is None
    made = model(x[y != 1]).double()
    whole = F.cross_entropy(made, y[y != 1]) + sum(strategy.loss(learner, (x, y[y != 1]), made).values())
    alone = F.cross_entropy(made[:, ::2], y[y != 1] // 2)
    assert float(whole.detach()) == pytest.approx(float(alone.detach()), rel=1e-9)
    (slope,) = torch.autograd.grad(whole, [made])
    assert not bool(slope[:, 1].any()), "features do not move to lower the logits of old classes"
    assert FeatureReplay(when="beside").loss(learner, (x, y), model(x)) == {}, "those are generated beside"


def test_logits_are_divided_by_their_mean_length_over_what_was_met_together() -> None:
    """SLCA's normalisation: classes 0 and 1 came first, then 2; twice as long logits are no better."""
    logits = torch.tensor([[3.0, 4.0, 1.0], [0.0, 2.0, -4.0]], dtype=torch.float64)
    by_hand = torch.stack([logits[0] / ((5 + 1) / 2), logits[1] / ((2 + 4) / 2)])
    assert torch.allclose(of_one_length(logits, [[0, 1], [2]]), by_hand, atol=1e-6)
    layer = nn.Linear(3, 3, bias=False).double()
    nn.init.eye_(layer.weight)
    found = late_loss(layer, logits, ["1", "2"], temperature=0.1, blocks=[[0, 1], [2]])
    expected = -(by_hand / 0.1).log_softmax(1)[[0, 1], [1, 2]].mean()
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-6)

    model = nn.Sequential(nn.Identity(), nn.Linear(2, 3, bias=False))
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]))
    strategy = FeatureReplay(temperature=0.1, batch_size=8)
    for number, classes in enumerate(([0, 1], [2])):
        learner.begin(number)
        learner.dataset = [
            (torch.tensor([1.0, c + 0.1 * i]), torch.tensor(c)) for c in classes for i in (0, 1)
        ]
        strategy.after_experience(learner, None)

    def again(row: int | slice, factor: float) -> float:
        with torch.no_grad():
            model[1].weight[row].mul_(factor)
            return float(strategy.loss(learner, None, torch.zeros(1, 3))["features"])

    before = again(slice(None), 1.0)
    assert again(slice(None), 2.0) == pytest.approx(before, rel=1e-4)
    assert abs(again(2, 2.0) - before) > 1e-3, "lengths of one experience alone do count"
    with pytest.raises(ValueError, match="temperature must be above 0"):
        FeatureReplay(temperature=0.0)


def test_what_generators_centre_on_drifts_with_the_new_examples_near_it() -> None:
    """Class 0 lies by one of two new examples; training has moved what they look like apart."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 3))
    nn.init.eye_(model[0].weight)
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]))
    strategy = FeatureReplay(when="after", steps=0, drift=0.2)
    for number, rows in enumerate(
        ([(torch.tensor([0.0, 1.0]), 0)], [(torch.eye(2)[i], i + 1) for i in (0, 1)])
    ):
        learner.begin(number)
        learner.dataset = rows
        strategy.before_experience(learner, None)
        if number:
            model[0].weight.data.copy_(torch.tensor([[3.0, -1.0], [0.0, 1.0]]))
        strategy.after_experience(learner, None)
    # (0, 1) is where the second example was, which went to (-1, 1); the first one went far from (1, 0).
    start, far = torch.eye(2).double(), torch.exp(torch.tensor(-2 / (2 * 0.2**2 * 0.5)).double())
    assert float((start - start.mean(0)).square().sum(1).mean()) == 0.5, "the spread's square"
    moved = (torch.tensor([-1.0, 0.0]).double() + far * torch.tensor([2.0, 0.0])) / (1 + far)
    assert torch.allclose(
        strategy._fitted["class 0"]["mean"].double(), torch.tensor([0.0, 1.0]) + moved, atol=1e-6
    )
    assert strategy._fitted["class 2"]["mean"].tolist() == [-1.0, 1.0]
