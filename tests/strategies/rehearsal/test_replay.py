"""Replay adds what its formula says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.config.recipes import recipe
from clplat.mechanisms.memory.composition import stored_batch
from clplat.testing import (
    TinyTowers,
    plain_loop,
    plain_step,
    task_gradients,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_loss,
)
from clplat.training.learner import Learner
from strategies import Replay

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


def test_replay_adds_the_weighted_task_loss_of_the_memory() -> None:
    strategy, model = Replay(size=6, batch_size=6, weight=0.25), TinyTowers()
    learner = tiny_learner(model)
    learner.dataset = FIRST.dataset
    assert strategy.loss(learner, BATCH, model(BATCH)) == {}
    strategy.after_experience(learner, FIRST)
    rows = strategy.memory.state_dict()["groups"]["0"]
    stored = [
        triplet for triplet in FIRST.dataset if triplet.id in {row["example"]["ids"][0] for row in rows}
    ]
    assert len(stored) == 6
    together = tiny_collate()(stored)
    expected = 0.25 * tiny_loss(together, model(together)).detach()
    term = strategy.loss(learner, OTHER, model(OTHER))["replay"]
    assert torch.allclose(term.detach(), expected, atol=1e-6)

    alone, replayed = task_gradients(model, OTHER), task_gradients(model, together)
    plain_step(strategy, learner, OTHER)
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert torch.allclose(p.grad, alone[name] + 0.25 * replayed[name], atol=1e-6), name


def test_combined_by_the_mean_it_is_the_loss_of_one_batch_of_both() -> None:
    strategy, model = Replay(size=6, batch_size=6, weight=1.5, combine="mean"), TinyTowers()
    learner = tiny_learner(model)
    learner.dataset = FIRST.dataset
    strategy.after_experience(learner, FIRST)
    outputs = model(OTHER)
    task = float(tiny_loss(OTHER, outputs).detach())
    stored = Replay(size=6, batch_size=6)
    stored.load_state_dict(strategy.state_dict())
    memory = float(stored.loss(learner, OTHER, outputs)["replay"].detach())
    found = task + float(strategy.loss(learner, OTHER, outputs)["replay"].detach())
    assert found == pytest.approx((8 * task + 6 * 1.5 * memory) / (8 + 6 * 1.5), rel=1e-5)


@pytest.mark.parametrize(("domains", "mixed"), [("auto", True), ("one", False), ("all", True)])
def test_what_a_memory_batch_is_of_follows_from_the_outputs(domains: Any, mixed: bool) -> None:
    model = torch.nn.Linear(1, 2)
    learner = Learner(
        model, torch.optim.SGD(model.parameters(), lr=0.1), predict_fn=lambda batch: model(batch[0])
    )
    seen: list[set[int]] = []
    learner.loss_fn = lambda batch, outputs: seen.append({*batch[1].tolist()}) or outputs.sum()  # type: ignore[func-returns-value]
    strategy = Replay(size=20, batch_size=16, domains=domains)
    for number in range(2):
        learner.dataset = [(torch.zeros(1), torch.tensor(number))] * 10
        strategy.after_experience(learner, None)
    for _ in range(5):
        strategy.loss(learner, None, torch.zeros(4, 2))
    assert [len(labels) == 2 for labels in seen] == [mixed] * 5


def test_a_learner_without_outputs_says_so() -> None:
    model = TinyTowers()
    bare = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), collate_fn=tiny_collate())
    replay, bare.dataset = Replay(size=4), FIRST.dataset
    replay.after_experience(bare, FIRST)
    with pytest.raises(TypeError, match="predict_fn"):
        replay.loss(bare, BATCH, model(BATCH))


def test_the_memory_holds_what_was_trained_on() -> None:
    class Renamed(Replay):
        def training_set(self, experience: Any) -> Any:
            return [replace(example, id=f"chosen/{example.id}") for example in experience.dataset]

    strategy = Renamed(size=6, batch_size=6)
    plain_loop(strategy, TinyTowers(), steps=1)
    groups = strategy.memory.state_dict()["groups"]
    assert len(groups) == 2
    assert all(row["example"]["ids"][0].startswith("chosen/") for rows in groups.values() for row in rows)


def test_the_share_of_an_old_domain_shrinks_and_a_step_stays_as_dear_however_many_there_are() -> None:
    """Static ConPET: what is replayed in a step is of a fixed size, drawn from all old domains alike."""
    options = recipe("conpet_static").config["strategy"]
    strategy, model = Replay(**{k: v for k, v in options.items() if k != "name"} | {"size": 12}), TinyTowers()
    strategy.batch_size = 6
    learner = tiny_learner(model)
    for experience in range(4):
        learner.dataset = FIRST.dataset if experience % 2 else SECOND.dataset
        learner.progress = replace(learner.progress, experience=experience)
        strategy.after_experience(learner, SimpleNamespace(dataset=learner.dataset))
        groups = strategy.memory.state_dict()["groups"]
        assert [len(rows) for rows in groups.values()] == [12 // (experience + 1)] * (experience + 1)
        stored = stored_batch(strategy.memory, strategy.batch_size, model(BATCH), strategy.domains)
        assert stored is not None and len(stored) == 6
