"""Task arithmetic against its formula, with and without an adapter."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from clplat.mechanisms.weight_space import weights_of
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.peft import LoRA
from clplat.testing import nudge, tiny_domains, tiny_learner, tiny_retriever
from strategies import TaskArithmetic

STREAM = [SimpleNamespace(dataset=domain.train) for domain in tiny_domains()]


@pytest.mark.parametrize("adapter", [Full(last=1), LoRA(r=2, targets="mlp")])
def test_the_model_is_the_first_one_and_all_changes(adapter: Full | LoRA) -> None:
    strategy, model = TaskArithmetic(weight=0.3), tiny_retriever(adapter)
    learner, base, ends = tiny_learner(model), weights_of(model), []
    for i, experience in enumerate(STREAM):
        strategy.before_experience(learner, experience)
        start = weights_of(model)
        assert all(torch.allclose(start[name], base[name], atol=1e-6) for name in base), "each from the first"
        nudge(model, 0.1 + 0.2 * i)
        ends.append(weights_of(model))
        strategy.after_experience(learner, experience)
        for name, found in weights_of(model).items():
            first = base[name].double()
            expected = first + 0.3 * sum(end[name].double() - first for end in ends)
            assert torch.allclose(found.double(), expected, atol=1e-5), name


def test_a_finished_run_is_merged_between_its_ends() -> None:
    points = [{"w": torch.tensor([float(i * i), 1.0]), "n": torch.tensor(i)} for i in range(4)]
    assert TaskArithmetic(weight=0.0).merge(points)["w"].tolist() == [0.0, 1.0]
    assert TaskArithmetic(weight=1.0).merge(points)["w"].tolist() == [9.0, 1.0]
    assert TaskArithmetic(weight=0.5).merge(points).keys() == {"w"}
    assert TaskArithmetic(weight=0.5).merge(points)["w"].tolist() == [4.5, 1.0]
