"""TreeLoRA: the term by hand, towards the domain that is looked at."""

from __future__ import annotations

import pytest
import torch

from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.sum import Sum
from clplat.testing import TinyTowers, plain_loop, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.tiny import tiny_loss
from strategies import TreeLoRA


def test_the_term_is_worth_a_share_of_the_task_loss_and_points_to_the_domain() -> None:
    strategy, model = TreeLoRA(weight=0.5), TinyTowers()
    plain_loop(strategy, model, steps=2)
    learner, batch = tiny_learner(model), tiny_collate()(tiny_domains()[0].train[:8])
    outputs = model(batch)
    term = strategy.loss(learner, batch, outputs)["tree"]
    task = float(tiny_loss(batch, outputs).detach())
    weights = [p for p in model.parameters() if p.requires_grad]
    chosen = strategy.tree.search()
    stored = [strategy.tree.seen[domain][i].double() for i, domain in enumerate(chosen)]
    alike = sum(float(p.detach().double().flatten() @ s) for p, s in zip(weights, stored, strict=True))
    sign = 1 if alike > 0 else -1
    assert float(term.detach()) == pytest.approx(-0.5 * 2 / 3 * task * sign, rel=1e-5)
    found = torch.autograd.grad(term, weights)
    for gradient, kept in zip(found, stored, strict=True):
        by_hand = -0.5 * 2 / 3 * task / abs(alike) * kept
        assert torch.allclose(gradient.flatten().double(), by_hand, rtol=1e-4, atol=1e-7)


def test_a_domain_is_the_mean_of_its_last_pass() -> None:
    strategy, model = TreeLoRA(weight=0.0), TinyTowers()
    learner = tiny_learner(model)
    strategy.before_experience(learner, None)
    values = []
    for _ in range(2):
        strategy.before_epoch(learner)
        values = []
        for _ in range(3):
            with torch.no_grad():
                model.text.weight.add_(1.0)
            values.append(model.text.weight.detach().clone())
            strategy.after_step(learner, None, None)
    strategy.after_experience(learner, None)
    kept = [vector for vector in strategy.tree.seen[0] if len(vector) == model.text.weight.numel()]
    assert torch.allclose(kept[-1], torch.stack(values).mean(0).flatten())


def test_of_lora_the_factors_a_count() -> None:
    strategy, model = TreeLoRA(), tiny_retriever(LoRA(r=2, targets="mlp", towers="text", last=1), Sum())
    plain_loop(strategy, model, tiny_domains()[:1], steps=1)
    assert [len(vector) for vector in strategy.tree.seen[0]] == [2 * 48, 2 * 192]
    with pytest.raises(ValueError, match="weight"):
        TreeLoRA(weight=-1.0)
