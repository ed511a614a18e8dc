"""Rank budget: importance and allocation as PEFT's allocator makes them, the schedule, what stays."""

from __future__ import annotations

import copy
from inspect import unwrap
from types import SimpleNamespace

import pytest
import torch

from clplat.errors import UserError
from clplat.models.names import named_parameters
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.peft import AdaLoRA, LoRA
from clplat.parts.composers.sum import Sum
from clplat.progress import Progress
from clplat.testing import plain_loop, tiny_domains, tiny_learner, tiny_retriever
from strategies import RankBudget

SMALL = AdaLoRA(targets=["v_proj"], last=1, init_r=4)


def test_the_ranks_that_stay_are_those_of_pefts_allocator() -> None:
    """Both are given the same weights and gradients for ten steps."""
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    strategy, model = (
        RankBudget(target=2, adapter=SMALL, warmup=0.0, settle=0.2),
        tiny_retriever(composer=Sum()),
    )
    learner = tiny_learner(model)
    strategy.before_experience(learner, SimpleNamespace(dataset=None))
    other = copy.deepcopy(model)
    config = AdaLoraConfig(init_r=4, target_r=2, tinit=0, tfinal=2, total_step=10, deltaT=1)
    allocator = RankAllocator(other, config, "default")
    draw, masked = torch.Generator().manual_seed(0), 0
    for step in range(1, 11):
        pairs = [*zip(named_parameters(model), named_parameters(other), strict=True)]
        for (_, ours), (_, theirs) in pairs:
            if ours.requires_grad:
                ours.grad = torch.randn(ours.shape, generator=draw)
                theirs.grad = ours.grad.clone()
        learner.progress = Progress(done=step - 1, total=10)
        unwrap(RankBudget.after_backward)(strategy, learner)
        if step < 8:
            allocator.update_ipt(other)
        with torch.no_grad():
            for _, (_, p) in pairs + [(None, pair[0]) for pair in pairs]:
                if p.grad is not None:
                    p -= 0.1 * p.grad
        learner.progress = Progress(done=step, total=10)
        unwrap(RankBudget.after_step)(strategy, learner, None, None)
        if step < 8:
            budget, _ = allocator.budget_schedule(step)
            if budget < allocator.init_bgt:
                allocator.mask_to_budget(other, budget)
        elif step == 8:
            pattern = allocator.mask_to_budget(other, allocator.target_bgt)
        else:
            allocator.mask_using_rank_pattern(other, pattern)
        for (name, ours), (_, theirs) in pairs:
            assert torch.equal(ours, theirs), (step, name)
        masked += step < 8 and any(bool((p == 0).any()) for n, p in named_parameters(model) if "lora_E" in n)
    assert masked > 2, "ranks go one after the other"
    unwrap(RankBudget.after_experience)(strategy, learner, None)
    assert strategy.numbers() == {"ranks": 2.0}


def test_a_domain_ends_with_the_budget_and_the_next_begins_with_all_ranks() -> None:
    strategy, model = RankBudget(target=1, adapter=SMALL), tiny_retriever(composer=Sum())
    left = []
    for domain in tiny_domains():
        plain_loop(strategy, model, [domain], steps=4, lr=0.05)
        entries = [p for name, p in named_parameters(model) if ".lora_E." in name]
        assert all(p.shape == (4, 1) and p.requires_grad for p in entries)
        left.append(sum(int(p.count_nonzero()) for p in entries))
    assert left == [len(entries)] * 2


def test_what_it_cannot_be_combined_with_is_reported() -> None:
    with pytest.raises(UserError, match="brings its own adapter"):
        plain_loop(RankBudget(), tiny_retriever(Full()))
    with pytest.raises(ValueError, match="LoRA; ranks can be taken from adalora alone"):
        RankBudget(adapter=LoRA())
    with pytest.raises(ValueError, match="leave steps between"):
        RankBudget(warmup=0.6, settle=0.5)
