"""Patch against its formula."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.models import IncrementalClassifier
from torch import nn

from clplat.errors import UserError
from clplat.parts.adapters.peft import IA3, DoRA, LNTuning, LoRA
from clplat.runs.checkpoint import Weights
from clplat.testing import (
    TinyTowers,
    nudge,
    plain_step,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_retriever,
)
from clplat.testing.checks import difference, weights
from clplat.training.learner import Learner
from strategies import Patch

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


@pytest.mark.parametrize("anchor", ["previous", "initial"])
def test_patch_interpolates(anchor: Any) -> None:
    strategy, model = Patch(alpha=0.3, anchor=anchor), TinyTowers()
    learner, starts = tiny_learner(model), []
    for experience in (FIRST, SECOND):
        starts.append(weights(model))
        strategy.before_experience(learner, experience)
        plain_step(strategy, learner, BATCH)
        nudge(model, 0.05)
        trained = weights(model)
        strategy.after_experience(learner, experience)
        start = starts[-1 if anchor == "previous" else 0]
        for name, p in model.named_parameters():
            expected = 0.7 * start[name].double() + 0.3 * trained[name].double()
            assert torch.allclose(p.detach().double(), expected, atol=1e-6), name
            assert p.requires_grad != torch.equal(p, starts[-1][name])


def learner_of(model: nn.Module) -> Learner:
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))


def merged(model: Any, adapter: Any) -> dict[str, torch.Tensor]:
    """The weights that a retriever computes with, in float64: the adapter folded into a copy."""
    alone = copy.deepcopy(model)
    adapter.merge(alone.backbone)
    return {key: value.double() for key, value in alone.backbone.base_state().items()}


@pytest.mark.parametrize("anchor", ["previous", "initial"])
def test_patch_interpolates_weights_and_not_the_factors_of_an_adapter(anchor: Any) -> None:
    adapter = LoRA(r=4, targets="mlp")
    strategy, model = Patch(alpha=0.3, anchor=anchor), tiny_retriever(adapter)
    learner, starts, kept = learner_of(model), [], Weights(model)
    for number, experience in enumerate((FIRST, SECOND)):
        starts.append(merged(model, adapter))
        strategy.before_experience(learner, experience)
        nudge(model, 0.2 + number)
        trained = merged(model, adapter)
        strategy.after_experience(learner, experience)
        start, found = starts[-1 if anchor == "previous" else 0], merged(model, adapter)
        moved = {key for key in found if not torch.equal(starts[-1][key], trained[key])}
        assert len(moved) == 8 and all(key.endswith("weight") for key in moved)
        for key, value in found.items():
            expected = 0.7 * start[key] + 0.3 * trained[key]
            assert torch.allclose(value, expected, atol=1e-5), (key, float((value - expected).abs().max()))
    fresh = tiny_retriever(adapter)
    Weights(fresh).restore(kept.tensors())
    assert not difference(weights(fresh), weights(model)), "a version on disk is the patched model"


def test_a_share_of_one_changes_no_bit_under_an_adapter() -> None:
    model = tiny_retriever(LoRA(r=4))
    strategy, learner = Patch(alpha=1.0), learner_of(model)
    strategy.before_experience(learner, FIRST)
    nudge(model, 0.3)
    trained = weights(model)
    strategy.after_experience(learner, FIRST)
    assert not difference(weights(model), trained)


@pytest.mark.parametrize("adapter", [LNTuning(), IA3()])
def test_scales_and_norms_are_interpolated_by_themselves(adapter: Any) -> None:
    model = tiny_retriever(adapter)
    strategy, learner, base = Patch(alpha=0.25), learner_of(model), model.backbone.base_state()
    frozen, start = {k: v.clone() for k, v in base.items()}, merged(model, adapter)
    strategy.before_experience(learner, FIRST)
    nudge(model, 0.3)
    trained = merged(model, adapter)
    strategy.after_experience(learner, FIRST)
    found = merged(model, adapter)
    assert any(not torch.equal(trained[key], start[key]) for key in start)
    for key, value in found.items():
        assert torch.allclose(value, 0.75 * start[key] + 0.25 * trained[key], atol=1e-5), key
    assert not difference(model.backbone.base_state(), frozen), "the base stays as it was"


def test_an_adapter_that_is_no_sum_is_refused_and_left_alone() -> None:
    model = tiny_retriever(DoRA(r=4, targets="mlp"))
    strategy, learner = Patch(alpha=0.5), learner_of(model)
    strategy.before_experience(learner, FIRST)
    nudge(model, 0.3)
    with pytest.raises(UserError, match="is no sum with the base weights"):
        strategy.after_experience(learner, FIRST)


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_buffers_that_move_belong_to_the_weights(alpha: float) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    strategy, learner, start = Patch(alpha=alpha), learner_of(model), weights(model)
    strategy.before_experience(learner, FIRST)
    model(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)))
    trained = weights(model)
    strategy.after_experience(learner, FIRST)
    if alpha == 0:
        assert not difference(weights(model), start)
    mean = 0.75 * start["1.running_mean"] + 0.25 * trained["1.running_mean"]
    assert alpha == 0 or torch.allclose(model[1].running_mean, mean)


def test_a_head_that_grows_keeps_its_new_rows() -> None:
    model = IncrementalClassifier(4, 2)
    strategy, learner = Patch(alpha=0.5), learner_of(model)
    strategy.before_experience(learner, FIRST)
    start = weights(model)["classifier.weight"]
    model.adaptation(SimpleNamespace(classes_in_this_experience=[2, 3, 4]))
    nudge(model, 0.5)
    trained = weights(model)["classifier.weight"]
    strategy.after_experience(learner, FIRST)
    found = weights(model)["classifier.weight"]
    assert found.shape == (5, 4) and torch.equal(found[2:], trained[2:])
    assert torch.allclose(found[:2], (start + trained[:2]) / 2)


def test_shares_by_depth_and_along_an_arc() -> None:
    names = [f"backbone.model.visual.{place}" for place in ("conv1.weight", "transformer.resblocks.0.w")]
    start = {name: torch.tensor([1.0, 0.0]) for name in [*names, "composer.w"]}
    end = {name: torch.tensor([0.0, 1.0]) for name in start}
    found = Patch(alpha=1.0, first=0.2).merge([start, end])
    assert [value[1].item() for value in found.values()] == pytest.approx([0.2, 0.6, 1.0])
    found = Patch(alpha=0.5, path="arc").merge([start, end])
    assert all(value.tolist() == pytest.approx([0.5**0.5] * 2) for value in found.values())


def test_an_arc_is_taken_in_training() -> None:
    strategy, model = Patch(alpha=0.5, path="arc"), nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[1.0, 0.0]])
    learner = learner_of(model)
    strategy.before_experience(learner, FIRST)
    model.weight.data = torch.tensor([[0.0, 1.0]])
    strategy.after_experience(learner, FIRST)
    assert model.weight[0].tolist() == pytest.approx([0.5**0.5] * 2)
