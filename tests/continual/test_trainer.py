"""The trainer: what the optimizer holds, what stays frozen, how a batch is made, and how a run is resumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from clplat.checkpoint import Weights, load_state, save_state
from clplat.continual.strategy import Strategy
from clplat.continual.trainer import NonFiniteLoss, Position, Trainer, domain_batches
from clplat.data.records import Batch
from clplat.errors import UserError
from clplat.models.adapters.full import Full
from clplat.models.composers.base import Composer
from clplat.models.composers.combiner import Combiner
from clplat.models.composers.sum import Sum
from clplat.randomness import generator
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import difference, trainable, weights
from clplat.testing.runs import everything, finish, tiny_stream, tiny_trainer
from strategies import EWC, Naive, Replay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Grow(Strategy):
    """A part for each domain: the older ones are frozen, the new one is trained."""

    def before_experience(self, learner: Any, experience: Any) -> None:
        learner.model.composer.requires_grad_(False)
        learner.model.composer.parts.append(nn.Linear(32, 32))


class Growing(Composer):
    """The text after a layer for every domain."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList()

    def forward(self, image: Any, text: Any) -> Tensor:
        out: Tensor = text.pooled
        for part in self.parts:
            out = out + part(out)
        return out + image.pooled


def stream(count: int = 3) -> Any:
    from clplat.continual.streams import build_benchmark

    return build_benchmark(tiny_domains(count)).train_stream


# -- optimizer ---------------------------------------------------------------------------------------------


def test_the_optimizer_holds_exactly_what_is_trained_by_role() -> None:
    trainer = tiny_trainer(
        Naive(), tiny_retriever(Full(last=1)), head_lr=1e-4, schedule="constant", warmup=0.0
    )
    trainer.train(tiny_stream()[0], eval_streams=[])
    held = {group["role"]: group["params"] for group in trainer.optimizer.param_groups}
    named = dict(trainer.model.named_parameters())
    for role in ("backbone", "head"):
        wanted = [n for n in trainable(trainer.model) if n.startswith("backbone.") == (role == "backbone")]
        assert [id(p) for p in held[role]] == [id(named[n]) for n in wanted] and wanted
    rates = {group["role"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {"backbone": 3e-3, "head": 1e-4}
    assert {id(p) for p in trainer.optimizer.state} == {id(named[n]) for n in trainable(trainer.model)}


def test_parts_added_before_an_experience_are_trained_and_old_ones_take_no_memory() -> None:
    trainer = tiny_trainer(Grow(), tiny_retriever(composer=Growing()))
    sizes, moved = [], []
    for experience in stream(3):
        old = weights(trainer.model)
        trainer.train(experience, eval_streams=[])
        sizes.append(len(trainer.optimizer.state))
        part = f"composer.parts.{len(sizes) - 1}.weight"
        moved.append(part not in old and float(trainer.model.get_parameter(part).grad.norm()) > 0)
        assert not [name for name in old if not torch.equal(old[name], weights(trainer.model)[name])]
    assert sizes == [2, 2, 2] and moved == [True] * 3


def test_growth_draws_from_the_seed_of_its_place() -> None:
    ends = [finish(tiny_trainer(Grow(), tiny_retriever(composer=Growing()))).trainer for _ in range(2)]
    assert not difference(*(weights(trainer.model) for trainer in ends))
    first, second = ends[0].model.composer.parts
    assert not torch.allclose(first.bias, second.bias, atol=1e-2)


def test_a_part_that_comes_too_late_is_refused() -> None:
    from avalanche.core import SupervisedPlugin

    class Late(SupervisedPlugin):  # type: ignore[misc]
        def before_training_exp(self, template: Any, **_: Any) -> None:
            template.model.composer.parts.append(nn.Linear(32, 32))

    trainer = tiny_trainer(Grow(), tiny_retriever(composer=Growing()))
    trainer.plugins.append(Late())
    with pytest.raises(UserError, match=r"parts\.1"):
        trainer.train(tiny_stream()[0], eval_streams=[])


@pytest.mark.parametrize("reset", [True, False])
def test_moments_are_kept_over_experiences_only_if_asked_for(reset: bool) -> None:
    trainer = finish(tiny_trainer(Naive(), tiny_retriever(), reset_optimizer=reset)).trainer
    steps = {float(state["step"]) for state in trainer.optimizer.state.values()}
    assert steps == {6.0 if reset else 12.0}


def test_a_frozen_logit_scale_stays_and_a_free_one_is_trained() -> None:
    for free in (False, True):
        retriever = tiny_retriever(Full(last=1))
        retriever.backbone.logit_scale.requires_grad_(free)
        before = retriever.backbone.logit_scale.clone()
        trainer = finish(tiny_trainer(Naive(), retriever)).trainer
        assert torch.equal(before, retriever.backbone.logit_scale) != free
        assert (
            any(p is retriever.backbone.logit_scale for p in trainer.optimizer.param_groups[0]["params"])
            == free
        )


def test_the_schedule_is_the_formula() -> None:
    rates: list[float] = []
    trainer = tiny_trainer(
        Naive(), tiny_retriever(), lambda t: rates.append(t.optimizer.param_groups[0]["lr"]), warmup=0.5
    )
    trainer.train(tiny_stream(), eval_streams=[])
    one = [3e-3 * min(1, (s + 1) / 3) * 0.5 * (1 + math.cos(math.pi * s / 6)) for s in range(6)]
    assert rates == pytest.approx(one + one)


def test_gradients_of_frozen_parts_do_not_count_when_clipping() -> None:
    """What was trained in an earlier domain keeps its last gradient; a resumed run would not have it."""

    class Clean(Grow):
        def before_experience(self, learner: Any, experience: Any) -> None:
            super().before_experience(learner, experience)
            learner.model.zero_grad()

    settings = {"optimizer": "sgd", "lr": 0.1, "clip": 1e-2}
    ends = []
    for strategy in (Grow(), Clean()):
        run = finish(tiny_trainer(strategy, tiny_retriever(composer=Growing()), **settings))
        ends.append(weights(run.trainer.model))
    assert not difference(*ends)


# -- frozen parts ------------------------------------------------------------------------------------------


def test_frozen_parts_stay_in_evaluation_mode() -> None:
    modes: list[dict[str, bool]] = []

    class Look(Strategy):
        def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
            modes.append({name: module.training for name, module in learner.model.named_modules()})
            return {}

    retriever = tiny_retriever(Full(towers="text", last=1))
    trainer = tiny_trainer(Look(), retriever)
    trainer.train(tiny_stream()[0], eval_streams=[])
    trained = {name.rpartition(".")[0] for name in trainable(retriever)}
    for mode in modes:
        assert mode["composer"] and mode["composer.dropout"] and all(mode[name] for name in trained)
        assert not any(on for name, on in mode.items() if name.startswith("backbone.model.visual"))
        assert not mode["backbone.model.transformer.resblocks.0"]


def test_tensors_that_nothing_uses_are_refused() -> None:
    class Unused(Sum):
        def build(self, embed_dim: int) -> None:
            self.spare = nn.Linear(embed_dim, embed_dim)

    retriever = tiny_retriever(Full(last=1), Unused())
    before = weights(retriever)
    with pytest.raises(UserError, match=r"2 trainable tensors get no gradient: composer\.spare\.weight"):
        tiny_trainer(Naive(), retriever).train(tiny_stream()[0], eval_streams=[])
    assert not difference(weights(retriever), before)


# -- failure -----------------------------------------------------------------------------------------------


def explode_at(trainer: Trainer, step: int, value: float) -> None:
    """The criterion of one step becomes NaN or infinite."""
    loss = trainer._criterion

    def broken(*args: Any, **more: Any) -> Tensor:
        right: Tensor = loss(*args, **more)
        return right * value if trainer.step == step else right

    trainer._criterion = broken


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_the_weights_are_intact(value: float) -> None:
    kept: dict[int, dict[str, Tensor]] = {}
    trainer = tiny_trainer(
        EWC(), tiny_retriever(Full(last=1)), lambda t: kept.update({t.step: weights(t.model)})
    )
    explode_at(trainer, 8, value)
    with pytest.raises(NonFiniteLoss) as caught:
        trainer.train(tiny_stream(), eval_streams=[])
    error = caught.value
    assert (error.step, error.position) == (8, Position(1, 0, 2))
    assert len(error.ids) == 8 and all(name.startswith("frame-black/") for name in error.ids)
    for word in (
        "step 8",
        "experience 1",
        "epoch 0",
        "iteration 2",
        "task nan" if math.isnan(value) else "task inf",
        "ewc",
        error.ids[0],
        "8 in all",
    ):
        assert word in str(error), word
    assert "\n" not in str(error) and not difference(weights(trainer.model), kept[8])


def test_a_gradient_that_is_not_finite_leaves_the_weights_intact() -> None:
    trainer = tiny_trainer(Naive(), tiny_retriever())
    loss = trainer._criterion

    def broken(query: Tensor, *args: Any, **more: Any) -> Tensor:
        right: Tensor = loss(query, *args, **more)
        if trainer.step != 2:
            return right
        return right + (query[0] - query[0].detach()).square().sum().sqrt()  # 0, with the gradient 0 / 0

    trainer._criterion = broken
    with pytest.raises(NonFiniteLoss, match="gradient"):
        trainer.train(tiny_stream()[0], eval_streams=[])
    assert all(bool(value.isfinite().all()) for value in weights(trainer.model).values())


# -- batches -----------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(2, 9), st.integers(0, 99))
def test_domain_batches(domains: list[str], size: int, seed: int) -> None:
    batches = domain_batches(domains, size, generator(seed, "test"))
    assert sorted(row for batch in batches for row in batch) == list(range(len(domains))), "every row once"
    for domain in set(domains):
        own = sorted(len(batch) for batch in batches if domains[batch[0]] == domain)
        count = domains.count(domain)
        assert all(
            {domains[row] for row in batch} == {domain} for batch in batches if domains[batch[0]] == domain
        )
        assert max(own) <= size + 1 and (min(own) > 1 or count == 1), "nobody stands alone"
        assert len(own) == max(1, math.ceil(count / size) - (count % size == 1 and count > 1))
    assert batches == domain_batches(domains, size, generator(seed, "test"))


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


# -- resume ------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3, 5, 6, 7, 12])
def test_a_run_that_is_cut_ends_with_the_same_bits(at: int, tmp_path: Path) -> None:
    def make(on_step: Any = None) -> Trainer:
        composer = Combiner(8, 16, dropout=0.5, start="random")
        retriever = tiny_retriever(Full(last=1), composer)
        return tiny_trainer(Replay(size=10, batch_size=4), retriever, on_step, reset_optimizer=False)

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
    from clplat.continual.streams import build_benchmark
    from clplat.data.records import Probe

    domains = tiny_domains()
    probe = Probe("zero", "retrieval", domains[0].test.gallery.pictures, ("a square",) * 12)
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
