"""InfLoRA: where A lies, and that earlier inputs do not see what is learnt later."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from clplat.mechanisms.layer_inputs import covariances_at
from clplat.mechanisms.low_rank import low_rank_layers
from clplat.mechanisms.projection import free_directions
from clplat.parts.adapters._growing import Growing
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator
from clplat.testing import plain_loop, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.checks import trainable
from strategies import InfLoRA

SMALL = Growing(r=3, alpha=3.0, targets=["k_proj"], towers="image", last=1)


def test_free_directions_are_the_leading_ones_of_what_the_basis_leaves() -> None:
    draw = generator(0, "inputs")
    old, new = (torch.randn(40, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    basis = torch.linalg.svd(old.T @ old).U[:, :2]
    covariance = new.T @ new
    found = free_directions(covariance, basis, 3)
    left = covariance - basis @ basis.T @ covariance
    expected = torch.linalg.svd(left).U[:, :3]
    assert torch.allclose((found * expected).sum(0).abs(), torch.ones(3, dtype=torch.float64))
    assert float((basis.T @ found).abs().max()) < 1e-12
    # Inputs that span two directions have no third; the singular vectors of zeros could lie anywhere.
    assert free_directions(old[:2].T @ old[:2], None, 3).shape == (6, 2)
    assert free_directions(old[:2].T @ old[:2], torch.linalg.qr(old[:2].T).Q, 3).shape[1] in (0, 1)


def test_a_is_fixed_by_the_inputs_of_the_domain_and_only_b_is_trained() -> None:
    strategy, model = InfLoRA(lora=SMALL), tiny_retriever(composer=Sum())
    learner: Any = tiny_learner(model)
    inputs: list[torch.Tensor] = []
    layer = model.backbone.model.get_submodule("visual.transformer.resblocks.1.attn.k_proj")
    hook = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0].flatten(0, -2)))
    list(learner.passes(tiny_domains()[0].train, 64))
    hook.remove()
    strategy.before_experience(learner, type("Experience", (), {"dataset": tiny_domains()[0].train}))
    assert trainable(model) and all(name.endswith(".up") for name in trainable(model))
    (grown,) = low_rank_layers(model.backbone).values()
    rows = torch.cat(inputs).double()
    expected = torch.linalg.svd(rows.T @ rows).U[:, :3].T / math.sqrt(3)
    found = grown.newest().down.double()
    assert torch.allclose((found * expected).sum(1).abs() * 3, torch.ones(3, dtype=torch.float64), atol=1e-4)


def test_inputs_of_earlier_domains_do_not_see_what_is_learnt_later() -> None:
    strategy, model = InfLoRA(threshold=1.0, lora=SMALL), tiny_retriever(composer=Sum())
    plain_loop(strategy, model, tiny_domains(2), steps=3)
    (path, layer), *_ = low_rank_layers(model.backbone).items()
    basis = strategy.state_dict()["spaces"]["bases"][path]
    assert basis.shape[0] == 32 and torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-4)
    assert float(layer.newest().up.abs().max()) > 0, "it has learnt nothing"

    half = InfLoRA(threshold=0.9, lora=SMALL)
    model = tiny_retriever(composer=Sum())
    plain_loop(half, model, tiny_domains()[:1], steps=3)
    held = half.state_dict()["spaces"]["bases"][path]
    assert 0 < held.shape[1] < 32
    plain_loop(half, model, tiny_domains()[1:], steps=3)
    layer = low_rank_layers(model.backbone)[path]
    moved = layer.newest().delta() @ held
    assert float(layer.newest().delta().norm()) > 0 and float(moved.abs().max()) < 1e-5


def test_the_share_is_of_squared_eigenvalues_as_in_the_code() -> None:
    strategy, model = InfLoRA(threshold=0.9, lora=SMALL), tiny_retriever(composer=Sum())
    plain_loop(strategy, model, tiny_domains()[:1], steps=1)
    layers: dict[str, nn.Module] = {**low_rank_layers(model.backbone)}
    ((path, inputs),) = covariances_at(tiny_learner(model), layers, tiny_domains()[0].train, 64).items()
    values = torch.linalg.eigvalsh(inputs.double()).flip(0).square()
    needed = int((values.cumsum(0) / values.sum() < 0.9).sum()) + 1
    assert strategy.state_dict()["spaces"]["bases"][path].shape[1] == needed


def test_values_that_make_no_sense_are_refused() -> None:
    for wrong in ({"threshold": 0.0}, {"growth": -0.1}, {"examples": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InfLoRA(**wrong)  # type: ignore[arg-type]
