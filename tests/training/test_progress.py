"""Where training stands, in every loop, and what a strategy may ask of any learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.parts.adapters.full import Full
from clplat.progress import Progress
from clplat.runs.checkpoint import Weights, load_state, save_state
from clplat.testing import TinyTowers, plain_loop, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.avalanche import stock_template
from clplat.testing.checks import weights
from clplat.testing.runs import finish, tiny_stream, tiny_trainer
from clplat.training.strategy import Strategy

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Seen = list[tuple[str, Progress]]


class Probe(Strategy):
    """Notes where training stands in every hook."""

    def __init__(self) -> None:
        self.seen: Seen = []

    def before_experience(self, learner: Any, experience: Any) -> None:
        self.seen.append(("before", learner.progress))

    def before_epoch(self, learner: Any) -> None:
        self.seen.append(("epoch", learner.progress))

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self.seen.append(("loss", learner.progress))
        return {}

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        assert len(batch) == len(outputs.query)
        self.seen.append(("step", learner.progress))

    def after_experience(self, learner: Any, experience: Any) -> None:
        self.seen.append(("after", learner.progress))


def expected(epochs: int, steps: int) -> Seen:
    """Two experiences of so many epochs of so many steps."""
    found, total, made = [], epochs * steps, 0
    for experience in range(2):
        found.append(("before", Progress(experience, 0, epochs, "", made, 0, 0)))
        for epoch in range(epochs):
            found.append(("epoch", Progress(experience, epoch, epochs, "", made, epoch * steps, total)))
            for step in range(epoch * steps, (epoch + 1) * steps):
                found.append(("loss", Progress(experience, epoch, epochs, "", made, step, total)))
                made += 1
                found.append(("step", Progress(experience, epoch, epochs, "", made, step + 1, total)))
        found.append(("after", Progress(experience, epochs - 1, epochs, "", made, total, total)))
    return found


def test_progress_is_the_same_in_every_loop() -> None:
    own, stock, plain = Probe(), Probe(), Probe()
    finish(tiny_trainer(own, tiny_retriever()))
    assert own.seen == expected(epochs=2, steps=3)
    stock_template(TinyTowers(), stock.as_plugin()).train(tiny_stream(), eval_streams=[])
    assert stock.seen == expected(epochs=1, steps=3)
    plain_loop(plain, TinyTowers(), steps=3)
    # A plain loop knows its steps when the experience begins.
    assert plain.seen[1:] == [
        (name, Progress(p.experience, 0, 1, "", p.step, p.done, 3)) for name, p in expected(1, 3)[1:]
    ]


@pytest.mark.parametrize("at", [2, 3, 4, 6, 8])
def test_progress_goes_on_when_a_run_is_resumed(at: int, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def cut(trainer: Any) -> None:
        if trainer.step == at:
            save_state(tmp_path / "checkpoint", trainer, Weights(trainer.model), {})
            raise Stop

    first, second = Probe(), Probe()
    with pytest.raises(Stop):
        finish(tiny_trainer(first, tiny_retriever(), cut))
    again = tiny_trainer(second, tiny_retriever())
    load_state(tmp_path / "checkpoint", again, Weights(again.model))
    again.train(tiny_stream()[again.position.experience :], eval_streams=[])
    # An epoch that had ended is begun once more by the loop, and by no hook.
    assert first.seen + second.seen == expected(epochs=2, steps=3)


def test_draws_depend_on_the_place_and_on_the_purpose() -> None:
    here = Progress(experience=1, step=7)
    draws = [
        torch.rand(2, generator=place.generator(seed, what))
        for place, seed, what in [
            (here, 0, "a"),
            (here, 0, "b"),
            (here, 1, "a"),
            (here.stepped(), 0, "a"),
            (here, 0, "a"),
        ]
    ]
    assert torch.equal(draws[0], draws[4]) and len({tuple(draw.tolist()) for draw in draws}) == 4
    assert Progress().fraction == 0.0 and Progress(done=3, total=4).fraction == 0.75


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("loop", ["trainer", "stock", "plain"])
def test_a_pass_over_the_data_changes_nothing(loop: str) -> None:
    """MAS, Fisher matrices and mining look at the data once more: same modes, same generator afterwards."""
    rows: list[Any] = []

    class Looking(Strategy):
        def after_experience(self, learner: Any, experience: Any) -> None:
            learner.model.train()
            before, state = modes(learner.model), torch.get_rng_state()
            data = learner.data()
            assert [example.id for example in data] == [example.id for example in experience.dataset]
            for batch, outputs in learner.passes(data, 10):
                assert not any(modes(learner.model)) and not outputs.query.requires_grad
                rows.append((batch.ids, float(learner.task_loss(batch, outputs))))
            for _, outputs in learner.passes(data, 10, grad=True):
                assert outputs.query.requires_grad
                break
            assert modes(learner.model) == before and torch.equal(torch.get_rng_state(), state)

    strategy = Looking()
    if loop == "trainer":
        finish(tiny_trainer(strategy, tiny_retriever()))
    elif loop == "stock":
        stock_template(TinyTowers(), strategy.as_plugin()).train(tiny_stream(), eval_streams=[])
    else:
        plain_loop(strategy, TinyTowers(), steps=1)
    wanted = [[f"{d.name}/{i}" for i in part] for d in tiny_domains() for part in torch.arange(24).split(10)]
    assert [ids for ids, _ in rows] == wanted


@pytest.mark.parametrize("loop", ["trainer", "plain"])
def test_pictures_and_texts_are_embedded_by_themselves(loop: str) -> None:
    found: list[Tensor] = []

    class Embedding(Strategy):
        def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
            pictures = [example.target.picture for example in tiny_domains()[0].train[:3]]
            images, texts = learner.items(pictures), learner.items(["a red square", "a blue square"])
            found.extend([images.norm(dim=1), texts.norm(dim=1)])
            assert images.requires_grad and texts.requires_grad
            return {"reference": (images @ texts.T).square().mean()}

    model = tiny_retriever(Full(last=1))
    before = weights(model)
    if loop == "trainer":
        tiny_trainer(Embedding(), model).train(tiny_stream()[0], eval_streams=[])
    else:
        plain_loop(Embedding(), model, steps=1)
    assert all(torch.allclose(norms, torch.ones_like(norms)) for norms in found) and found
    assert any(not torch.equal(before[name], value) for name, value in weights(model).items())


def test_what_cannot_be_asked_is_said_in_one_line() -> None:
    learner = tiny_learner(TinyTowers())
    with pytest.raises(TypeError, match="it needs a model with encode_items, not TinyTowers"):
        learner.items(["a"])
    other = tiny_learner(tiny_retriever())
    other.collate_fn = None
    with pytest.raises(TypeError, match="it needs clplat's Collate in the loop, not NoneType"):
        other.items(["a"])
    with pytest.raises(TypeError, match=r"set Learner\.dataset"):
        tiny_learner(TinyTowers()).data()
