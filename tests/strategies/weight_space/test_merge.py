"""Merge: the rules on changes that each begin at the first weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms import merging
from clplat.mechanisms.importance import fisher
from clplat.mechanisms.weight_space import weights_of
from clplat.randomness import generator
from clplat.testing import TinyTowers, nudge, tiny_domains, tiny_learner
from strategies import Merge

STREAM = [SimpleNamespace(dataset=domain.train) for domain in tiny_domains()]


@pytest.mark.parametrize("rule", ["mean", "sum", "isotropic", "fisher"])
def test_the_model_is_the_first_one_and_what_the_rule_makes_of_all_changes(rule: Any) -> None:
    strategy, model = Merge(rule, weight=0.5, drop=0.3, examples=4, batch_size=4, seed=1), TinyTowers()
    assert strategy.reads_data == (rule == "fisher")
    learner, base = tiny_learner(model), weights_of(model)
    vectors: list[dict[str, Tensor]] = []
    fishers: list[dict[str, Tensor]] = []
    for k, experience in enumerate(STREAM):
        strategy.before_experience(learner, experience)
        assert all(torch.allclose(value, base[name]) for name, value in weights_of(model).items())
        nudge(model, 0.1 + k)
        learner.dataset = experience.dataset
        change = merging.task_vector(base, weights_of(model))
        vectors.append(merging.dropped(change, 0.3, generator(1, "drop", k)))
        fishers.append(fisher(learner, learner.dataset, 4, examples=4))
        strategy.after_experience(learner, experience)
        for name, found in weights_of(model).items():
            values = torch.stack([vector[name].double() for vector in vectors])
            if rule == "fisher" and name in fishers[0]:
                shares = torch.stack([one[name].double() for one in fishers]) + 1e-6
                made = (shares * values).sum(0) / shares.sum(0)
            elif rule == "isotropic":
                made = merging.isotropic(vectors)[name].double()
            else:
                made = values.sum(0) if rule == "sum" else values.mean(0)
            assert torch.allclose(found.double(), base[name].double() + 0.5 * made, atol=1e-4), name


def test_a_finished_run_is_merged() -> None:
    points = [{"w": torch.tensor(values)} for values in ([0.0, 0.0], [1.0, 2.0], [3.0, -2.0])]
    assert Merge("mean").merge(points)["w"].tolist() == [2.0, 0.0]
    assert Merge("sum", weight=0.5).merge(points)["w"].tolist() == [1.5, -1.0]
    assert Merge("mean").merge(points[:1])["w"].tolist() == [0.0, 0.0]
    with pytest.raises(UserError, match="'fisher' measures in training"):
        Merge("fisher").merge(points)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"drop in \[0, 1\)"):
        Merge(drop=1.0)
