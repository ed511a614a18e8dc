"""Mixtures of experts against slow references: token by token, and their balance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.mechanisms.experts import variation
from clplat.parts.adapters.moe import MoEAdapter, _Bottlenecks
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.sum import Sum
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from clplat.testing.towers import attached
from clplat.training.strategy import Strategy


def test_every_token_goes_through_its_k_best_experts() -> None:
    torch.manual_seed(0)
    experts = _Bottlenecks(count=4, k=2, rank=3, width=5).double()
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    h = torch.randn(7, 5).double()
    found, (_, gates) = experts(h)
    w: Any = {name: p.detach().numpy() for name, p in experts.named_parameters()}
    for row, x in enumerate(h.numpy()):
        scores = w["gate.weight"] @ x
        best = np.argsort(-scores)[:2]
        weights = np.exp(scores[best]) / np.exp(scores[best]).sum()
        expected = np.zeros(5)
        for g, e in zip(weights, best, strict=True):
            inner = np.maximum(w[f"down.{e}.weight"] @ x + w[f"down.{e}.bias"], 0)
            expected += g * (w[f"up.{e}.weight"] @ inner + w[f"up.{e}.bias"])
        np.testing.assert_allclose(found[row].detach().numpy(), expected, rtol=1e-9)
        assert gates[row].nonzero()[:, 0].tolist() == sorted(best.tolist())
    with torch.no_grad():
        torch.testing.assert_close(experts(h)[0], found, msg="as if all were computed")


def test_balance_is_the_squared_coefficient_ofvariation() -> None:
    gates = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]], dtype=torch.float64)
    importance = np.array([1.7, 0.7, 0.6])
    expected = importance.var() / importance.mean() ** 2
    np.testing.assert_allclose(float(variation(gates)), expected, rtol=1e-6)
    assert float(variation(torch.full((6, 3), 1 / 3))) < 1e-12


def test_the_balance_is_trained_on_and_only_of_the_step_itself() -> None:
    model, batch = (
        tiny_retriever(MoEAdapter(balance=0.5), Sum()).train(),
        tiny_collate()(tiny_domains()[0].train[:6]),
    )
    model.image_features(batch.pictures)  # as a strategy may, outside the step
    outputs = model(batch)
    assert set(outputs.terms) == {"balance"} and len(model.backbone.adapters.routes) == 0
    again = model(batch).terms["balance"]
    torch.testing.assert_close(outputs.terms["balance"], again)
    again.backward()
    gates = [p for name, p in model.named_parameters() if name.endswith("gate.weight")]
    assert gates and all(p.grad is not None and bool(p.grad.any()) for p in gates)
    with torch.no_grad():
        assert not model(batch).terms and not model.eval()(batch).terms


def test_experts_that_no_token_chooses_may_idle_in_a_training() -> None:
    model = tiny_retriever(MoEAdapter(experts=3, k=1), Sum())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate.weight"):
                parameter[2].zero_()
                parameter[:2].copy_(torch.randn(2, parameter.shape[1]) * 10)
                parameter[1] = -parameter[0]  # one of the two is above zero
    trainer = tiny_trainer(Strategy(), model)
    trainer.train(tiny_stream()[0], eval_streams=[])
    assert "balance" in trainer.losses[0]
    idle = [p for name, p in model.named_parameters() if ".down.2." in name]
    assert any(p.grad is None for p in idle)


def test_what_is_not_chosen_is_not_computed_and_the_base_keeps_its_names() -> None:
    backbone, adapter = tiny_backbone(), MoEAdapter()
    names, stock = set(backbone.base_state()), set(backbone.stock_state_dict())
    attached(adapter, backbone)
    assert set(backbone.base_state()) == names and set(backbone.stock_state_dict()) == stock
    with pytest.raises(UserError, match="cannot be merged"):
        adapter.merge(backbone)
    with pytest.raises(UserError, match="attached already"):
        attached(LoRA(), backbone)
    ComposedRetriever(backbone, Sum())
