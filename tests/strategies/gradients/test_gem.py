"""GEM: no step against the gradient of any earlier domain."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from clplat.testing import TinyTowers, task_gradients, tiny_collate, tiny_domains, tiny_learner
from strategies import GEM

DOMAINS = tiny_domains(3)
STREAM = [SimpleNamespace(dataset=domain.train) for domain in DOMAINS]


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_step_agrees_with_every_earlier_domain(margin: float) -> None:
    strategy, model = GEM(size=16, batch_size=16, margin=margin), TinyTowers()
    learner = tiny_learner(model)
    for experience in STREAM[:2]:
        learner.dataset = experience.dataset
        strategy.after_experience(learner, experience)
    groups = strategy.memory.state_dict()["groups"].values()
    kept = [{row["example"]["ids"][0] for row in rows} for rows in groups]
    assert [len(ids) for ids in kept] == [8, 8]
    stored = [
        tiny_collate()([one for one in experience.dataset if one.id in ids])
        for experience, ids in zip(STREAM, kept, strict=False)
    ]
    references = [task_gradients(model, one) for one in stored]
    plain = task_gradients(model, tiny_collate()(DOMAINS[2].train[:8]))
    for sign in (1.0, -1.0):  # the three domains agree here; down the other way they do not
        for name, gradient in plain.items():
            model.get_parameter(name).grad = sign * gradient
        strategy.after_backward(learner)
        taken = {name: model.get_parameter(name).grad for name in plain}
        before, after = (
            [sum(float((g[name] * r[name]).sum()) for name in plain) for r in references]
            for g in ({name: sign * g for name, g in plain.items()}, taken)
        )
        assert min(after) > -1e-5 and (min(before) < 0) == (sign < 0)
        kept = all(torch.equal(taken[name], sign * plain[name]) for name in plain)
        assert kept == (sign > 0), "without a conflict the gradient stays"
        assert (max(after) > 1e-2) == (sign > 0 or margin > 0), "a margin goes beyond the border"


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="margin must be at least 0, not -1"):
        GEM(margin=-1.0)
