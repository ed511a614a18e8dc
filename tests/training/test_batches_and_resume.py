"""The trainer: how a batch is made, and how a run that was cut goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.data.batch import Batch
from clplat.parts.adapters.full import Full
from clplat.parts.composers.combiner import Combiner
from clplat.runs.checkpoint import Weights, load_state, save_state
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import difference
from clplat.testing.runs import everything, finish, tiny_stream, tiny_trainer
from clplat.training.strategy import Strategy
from clplat.training.trainer import Trainer
from strategies import AGEM, Distill, Naive, Replay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# -- batches -----------------------------------------------------------------------------------------------


def test_batches_are_collated_and_every_triplet_is_seen_once_an_epoch() -> None:
    seen: list[list[str]] = []

    class Look(Naive):
        def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
            assert isinstance(batch, Batch) and batch.reference.dtype == torch.uint8
            seen.append(batch.ids)
            return {}

    finish(tiny_trainer(Look(), tiny_retriever()))
    epochs = [[name for ids in seen[start : start + 3] for name in ids] for start in range(0, 12, 3)]
    assert all(len(set(epoch)) == len(epoch) == 24 for epoch in epochs)
    places = [[name.split("/")[1] for name in epoch] for epoch in epochs]
    assert len({tuple(order) for order in places}) == 4, "every epoch of every experience has its own order"


def test_replay_keeps_the_declared_batch_size() -> None:
    sizes: list[tuple[int, int]] = []

    class Watched(Replay):
        def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
            sizes.append((len(outputs.query), len(outputs.candidates)))
            return super().loss(learner, batch, outputs)

    trainer = finish(tiny_trainer(Watched(size=12, batch_size=5), tiny_retriever())).trainer
    assert sizes == [(8, 8)] * 12
    assert [("replay" in terms) for terms in trainer.losses] == [False] * 6 + [True] * 6
    # The memory batch is a pass of its own, and counted.
    assert trainer.flops_per_step[1] > 1.3 * trainer.flops_per_step[0]


@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        (Naive(), {}),
        (Replay(size=12, batch_size=8), {"image_forward": 1, "image_backward": 1, "text_forward": 1}),
        (AGEM(size=12, batch_size=4), {"image_forward": 0.5, "image_backward": 0.5}),
        (Distill(), {"image_no_grad": 1, "text_no_grad": 1, "image_forward": 0}),
    ],
)
def test_passes_of_the_towers_are_those_of_the_formula(strategy: Strategy, more: dict[str, float]) -> None:
    """A batch forward and backward, and in the second experience what the strategy adds to that."""
    trainer = finish(tiny_trainer(strategy, tiny_retriever(Full()), epochs=1), cuts=()).trainer
    assert trainer.passes_per_step[0].get("image_forward") == 1
    plain = {f"{tower}_{way}": 1.0 for tower in ("image", "text") for way in ("forward", "backward")}
    found = trainer.passes_per_step[1]
    assert {name: found[name] - plain.get(name, 0.0) for name in more} == more
    assert found.keys() - plain.keys() == more.keys() - plain.keys()
    assert trainer.passes["image_forward"] == 3 * (1 + found["image_forward"]), "three steps of each"
    assert trainer.flops_between == 0


def test_what_is_computed_between_steps_is_counted_apart() -> None:
    """Two passes over 24 examples, forward and backward, as a step of 8 is."""

    class Looks(Naive):
        def after_experience(self, learner: Any, experience: Any) -> None:
            for _batch, outputs in learner.passes(learner.data(), 12, grad=True):
                outputs.query.sum().backward()

    plain, looks = (
        finish(tiny_trainer(each, tiny_retriever(Full()), epochs=1), cuts=()).trainer
        for each in (Naive(), Looks())
    )
    assert (looks.flops, looks.passes) == (plain.flops, plain.passes) and plain.flops_between == 0
    a_row = plain.flops_per_step[0] / 8
    assert 0.6 * a_row * 24 * 2 < looks.flops_between < 1.1 * a_row * 24 * 2


# -- resume ------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize(("at", "more"), [*((at, {}) for at in (1, 3, 5, 6, 7, 12)), (8, {"micro_batch": 3})])
def test_a_run_that_is_cut_ends_with_the_same_bits(at: int, more: dict[str, Any], tmp_path: Path) -> None:
    def make(on_step: Any = None) -> Trainer:
        composer = Combiner(8, 16, dropout=0.5, start="random")
        retriever = tiny_retriever(Full(last=1), composer)
        return tiny_trainer(Replay(size=10, batch_size=4), retriever, on_step, reset_optimizer=False, **more)

    def cut(trainer: Any) -> None:
        if trainer.step == at:
            save_state(path, trainer, Weights(trainer.model), {"row": [1.0, None]})
            raise Stop

    path = tmp_path / "checkpoint.safetensors"
    whole = finish(make()).trainer
    with pytest.raises(Stop):
        finish(make(cut))
    again = make()
    decoded: list[str] = []
    collate = again.collate
    again.collate = lambda triplets: decoded.extend(t.id for t in triplets) or collate(triplets)
    assert load_state(path, again, Weights(again.model)) == {"row": [1.0, None]}
    again.train(tiny_stream()[again.position.experience :], eval_streams=[])
    assert again.losses == whole.losses and (again.step, again.flops) == (whole.step, whole.flops)
    assert (again.passes, again.flops_between) == (whole.passes, whole.flops_between)
    assert not difference(everything(again), everything(whole))
    left = 8 * (12 - at)
    memories = 10 * (2 - again.position.experience) + 10 * 2
    assert len(decoded) <= left + memories, "batches that were trained on already are not decoded again"


def test_one_seed_one_run_whatever_else_the_process_does() -> None:
    ends = []
    with torch.random.fork_rng(devices=[]):
        for other in (3, 4):
            torch.manual_seed(other)
            before = torch.get_rng_state()
            ends.append(finish(tiny_trainer(Naive(), tiny_retriever(Full(last=1)))).trainer)
            assert torch.equal(torch.get_rng_state(), before)
    assert not difference(everything(ends[0]), everything(ends[1]))


# -- streams -----------------------------------------------------------------------------------------------


def test_streams_with_equal_numbers_are_told_apart_by_what_they_carry() -> None:
    from clplat.parts import RetrievalProbe
    from clplat.training.streams import build_benchmark

    domains = tiny_domains()
    probe = RetrievalProbe("zero", domains[0].test.gallery.pictures, ("a square",) * 12)
    made = build_benchmark(domains, [probe])
    assert [e.current_experience for e in made.train_stream] == [
        e.current_experience for e in made.test_stream
    ]
    assert made.streams["probe"][0].current_experience == 0 and made.streams["probe"][0].probe is probe
    assert made.train_stream[1:][0].current_experience == 1, "a slice keeps the numbers"
    assert tiny_collate()(made.train_stream[0].dataset[0:3]).ids == [
        "frame-none/0",
        "frame-none/1",
        "frame-none/2",
    ]
