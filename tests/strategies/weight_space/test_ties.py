"""TIES keeps every domain's change and merges them anew after each."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from clplat.mechanisms import merging
from clplat.mechanisms.weight_space import weights_of
from clplat.testing import TinyTowers, nudge, tiny_domains, tiny_learner
from strategies import TIES

STREAM = [SimpleNamespace(dataset=domain.train) for domain in tiny_domains()]


def test_the_model_is_the_first_one_and_the_merged_change() -> None:
    strategy, model = TIES(weight=0.5, density=0.3), TinyTowers()
    learner, base, vectors = tiny_learner(model), weights_of(model), []
    for i, experience in enumerate(STREAM):
        strategy.before_experience(learner, experience)
        assert all(torch.equal(value, base[name]) for name, value in weights_of(model).items())
        nudge(model, 0.1 + i)
        vectors.append(merging.task_vector(base, weights_of(model)))
        strategy.after_experience(learner, experience)
        change = merging.ties(vectors, 0.3)
        for name, found in weights_of(model).items():
            assert torch.allclose(found, base[name] + 0.5 * change[name], atol=1e-6), name


def test_a_finished_run_is_merged_by_its_steps() -> None:
    points = [{"w": torch.tensor(values)} for values in ([0.0, 0.0], [1.0, 2.0], [3.0, -2.0])]
    # Steps (1, 2) and (2, -4): masses 3 and -2.
    assert TIES(density=1.0).merge(points)["w"].tolist() == [1.5, -4.0]
    assert TIES().merge(points[:1])["w"].tolist() == [0.0, 0.0]
