"""Regions: what is stored, what pictures are made of, and that reference and target stay together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.data.batch import Batch
from clplat.errors import UserError
from clplat.mechanisms.carried_gradient import Source
from clplat.mechanisms.parameter_groups import relative_depths
from clplat.mechanisms.regions import broken_up, reorganised, same_text
from clplat.parts.adapters.full import Full
from clplat.randomness import generator
from clplat.testing import (
    TinyTowers,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_loss,
    tiny_retriever,
)
from strategies import Reorganize, Replay

DATA = tiny_domains()[0].train
BATCH = tiny_collate()(DATA[:12])
ROWS = BATCH.rows()


def pixels(row: dict[str, Any]) -> list[torch.Tensor]:
    return row["item"]["pictures"]["pixels"]  # type: ignore[no-any-return]


def test_all_regions_of_one_example_are_its_pictures() -> None:
    draw = generator(0, "regions")
    for grid in (1, 2, 4):
        whole = reorganised([broken_up(ROWS[3], grid, grid * grid, draw)], grid, draw)
        assert all(map(torch.equal, pixels(whole), pixels(ROWS[3])))
    with pytest.raises(UserError, match="16 pixels do not divide into 3 x 3"):
        broken_up(ROWS[0], 3, 1, draw)


def test_a_place_is_taken_from_one_that_holds_it_in_all_pictures() -> None:
    draw, alike = generator(0, "regions"), next(rows for rows in same_text(ROWS) if len(rows) > 1)
    parts = [broken_up(ROWS[i], 2, 2, draw) for i in alike]
    made = reorganised(parts, 2, draw)
    for cell in range(4):
        top, left = 8 * (cell // 2), 8 * (cell % 2)
        place = (slice(None), slice(top, top + 8), slice(left, left + 8))
        cells = [part["item"]["pictures"]["cells"] for part in parts]
        givers = [ROWS[i] for i, own in zip(alike, cells, strict=True) if cell in own]
        found = [picture[place] for picture in pixels(made)]
        same = [all(map(torch.equal, found, (p[place] for p in pixels(row)))) for row in givers]
        assert not givers or any(same), "reference and target are of one example"
    assert torch.equal(Batch.from_rows([made, made]).texts.ids[0], BATCH.texts.ids[alike[0]])


def test_half_the_regions_are_half_the_bytes() -> None:
    learner = tiny_learner(TinyTowers())
    learner.dataset = DATA
    strategy, whole = Reorganize(size=8, batch_size=8), Replay(size=8, batch_size=8)
    for one in (strategy, whole, strategy):  # what is broken up already stays as it is
        one.after_experience(learner, None)
    stored = [tensor for rows in strategy.memory.groups.values() for row in rows for tensor in pixels(row)]
    assert {tuple(tensor.shape) for tensor in stored} == {(2, 3, 8, 8)}
    assert strategy.memory_bytes() < 0.6 * whole.memory_bytes()


def test_the_loss_is_that_of_whole_pictures() -> None:
    learner = tiny_learner(TinyTowers())
    learner.dataset = list({example.text: example for example in DATA}.values())  # no two to be mixed
    strategy = Reorganize(size=20, batch_size=20, weight=0.5, kept=4)
    assert strategy.loss(learner, BATCH, learner.predict(BATCH)) == {}
    strategy.after_experience(learner, None)
    together = tiny_collate()(learner.dataset)
    expected = 0.5 * float(tiny_loss(together, learner.predict(together)).detach())
    found = strategy.loss(learner, BATCH, learner.predict(BATCH))["replay"]
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def test_parts_of_the_towers_learn_from_one_kind_of_examples() -> None:
    """Asynchronous updating: whose gradient each weight has, against those of both losses apart."""
    plain, model = Reorganize(size=20, batch_size=20, weight=0.5, kept=4), tiny_retriever(Full()).eval()
    learner = tiny_learner(model)
    learner.dataset = list({example.text: example for example in DATA}.values())  # no two to be mixed
    plain.after_experience(learner, None)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    depths = relative_depths([*named])
    assert {value < 0.5 for value in depths.values()} == {True, False}

    def gradients(strategy: Reorganize | None, task: bool) -> dict[str, torch.Tensor]:
        outputs = learner.predict(BATCH)
        loss = learner.task_loss(BATCH, outputs) if task else torch.zeros(())
        if strategy is not None:
            strategy.memory = plain.memory
            loss = loss + strategy.loss(learner, BATCH, outputs)["replay"]
        found = torch.autograd.grad(loss, [*named.values()], allow_unused=True)
        return {
            n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), found, strict=True)
        }

    task, replay = gradients(None, True), gradients(plain, False)
    wanted = {
        "current": task,
        "replay": replay,
        "both": {name: task[name] + replay[name] for name in named},
    }
    lower: Source
    upper: Source
    for lower, upper in (("current", "both"), ("replay", "current"), ("both", "replay")):
        strategy = Reorganize(20, 20, 0.5, kept=4, lower=lower, upper=upper)
        found = gradients(strategy, True)
        for name in named:
            own = wanted[lower if depths[name] < 0.5 else upper][name]
            assert torch.allclose(found[name], own, atol=1e-5), (lower, upper, name)
    value = strategy.loss(learner, BATCH, learner.predict(BATCH))["replay"]
    assert float(value.detach()) == pytest.approx(
        float(plain.loss(learner, BATCH, learner.predict(BATCH))["replay"].detach()), rel=1e-5
    )
