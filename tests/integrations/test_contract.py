"""Every registered strategy in every loop: hooks once a step on whole gradients, the plain loop's weights."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clplat import registry
from clplat.parts.adapters.full import Full
from clplat.parts.composers.combiner import Combiner
from clplat.testing import TinyTowers, tiny_collate, tiny_domains, tiny_loss, tiny_retriever
from clplat.testing.by_hand import Calls, by_hand, sgd
from clplat.testing.references import TinyReference
from clplat.training.learner import Learner
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy

pytestmark = pytest.mark.filterwarnings(  # theirs to mend
    "ignore:.*LeafSpec", "ignore:No loggers specified", "ignore:Found .* in eval mode"
)


def need(library: str) -> Any:
    return pytest.importorskip(library, reason=f"{library} comes with the extra [test-integrations]")


class Towers:
    """Any module that takes a batch of composed retrieval, or a retriever where the strategy needs one."""

    def __init__(self, strategy: Strategy) -> None:
        composer = Combiner(8, 16, dropout=0.0, start="random")
        adapter = None if strategy.brings else Full(last=1)
        self.model = TinyTowers() if strategy.any_module else tiny_retriever(adapter, composer)
        self.learner = Learner(
            self.model, None, self.model, tiny_loss, tiny_collate(), reference=TinyReference()
        )
        self.stream = [domain.train[:16] for domain in tiny_domains()]

    def loader(self, data: Any) -> DataLoader[Any]:
        return DataLoader(data, batch_size=8, shuffle=True, collate_fn=tiny_collate())


def in_torch(strategy: Strategy, world: Towers) -> None:
    learner = world.learner
    for number, dataset in enumerate(world.stream):
        torch.manual_seed(number)
        with strategy.experience(learner, dataset) as experience:
            experience.follow(sgd(learner.model))
            for _ in experience.epochs(1):
                for batch in world.loader(experience.dataset):
                    learner.optimizer.zero_grad()
                    outputs = world.model(batch)
                    (tiny_loss(batch, outputs) + experience.loss(batch, outputs)).backward()
                    learner.optimizer.step()


def in_accelerate(strategy: Strategy, world: Towers) -> None:
    accelerate = need("accelerate")
    from clplat.integrations.accelerate import backward

    accelerator = accelerate.Accelerator(cpu=True)
    for number, dataset in enumerate(world.stream):
        torch.manual_seed(number)
        with strategy.experience(world.learner, dataset) as experience:
            model, optimizer, loader = accelerator.prepare(
                world.model, sgd(world.model), world.loader(experience.dataset)
            )
            experience.follow(optimizer)
            for _ in experience.epochs(1):
                for batch in loader:
                    with accelerator.accumulate(model):
                        outputs = model(batch)
                        loss = tiny_loss(batch, outputs) + experience.loss(batch, outputs)
                        backward(accelerator, loss, experience)
                        accelerator.clip_grad_norm_(model.parameters(), 1e3)
                        optimizer.step()
                        optimizer.zero_grad()


def in_lightning(strategy: Strategy, world: Towers) -> None:
    lightning = need("lightning.pytorch")
    from clplat.integrations.lightning import StrategyCallback

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self, experience: Any) -> None:
            super().__init__()
            self.towers, self.experience = world.model, experience

        def training_step(self, batch: Any, index: int) -> Tensor:
            outputs = self.towers(batch)
            loss: Tensor = tiny_loss(batch, outputs) + self.experience.loss(batch, outputs)
            return loss

        def configure_optimizers(self) -> Any:
            return sgd(self.towers)

    for number, dataset in enumerate(world.stream):
        torch.manual_seed(number)
        with strategy.experience(world.learner, dataset) as experience:
            trainer = lightning.Trainer(
                max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False,
                callbacks=[StrategyCallback(experience)],
            )  # fmt: skip
            trainer.fit(Module(experience), world.loader(experience.dataset))


def in_transformers(strategy: Strategy, world: Towers) -> None:
    transformers = need("transformers")
    from clplat.integrations.transformers import StrategyTrainer

    class Judged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.towers = world.model

        def forward(self, batch: Any) -> Any:
            outputs = self.towers(batch)
            return {"loss": tiny_loss(batch, outputs), "outputs": outputs}

    class Trainer(StrategyTrainer):
        def seen(self, outputs: Any) -> Any:
            return outputs["outputs"]

    args = transformers.TrainingArguments(
        "unused", max_steps=-1, num_train_epochs=1, per_device_train_batch_size=8, optim="sgd",
        learning_rate=1e-3, lr_scheduler_type="constant", max_grad_norm=1e3, save_strategy="no",
        report_to="none", use_cpu=True, disable_tqdm=True, remove_unused_columns=False, logging_strategy="no",
    )  # fmt: skip
    for number, dataset in enumerate(world.stream):
        torch.manual_seed(number)
        with strategy.experience(world.learner, dataset) as experience:
            Trainer(
                Judged(), args, experience=experience,
                data_collator=lambda rows: {"batch": tiny_collate()(rows)},
            ).train()  # fmt: skip


def in_avalanche(strategy: Strategy, world: Towers) -> None:
    from avalanche.training.plugins import EvaluationPlugin

    from clplat.testing.avalanche import StockTemplate
    from clplat.testing.runs import tiny_stream

    template = StockTemplate(
        model=world.model, optimizer=sgd(world.model), train_mb_size=8, plugins=[strategy.as_plugin()],
        evaluator=EvaluationPlugin, eval_every=-1,
    )  # fmt: skip
    world.stream = [experience.dataset for experience in tiny_stream()]
    for number, experience in enumerate(tiny_stream()):
        torch.manual_seed(number)
        template.train(experience)


LOOPS = {"torch": in_torch, "accelerate": in_accelerate, "lightning": in_lightning,
         "transformers": in_transformers, "avalanche": in_avalanche}  # fmt: skip


def strategies_in_loops() -> list[Any]:
    """Each strategy in plain torch and in one of the other loops, which its name decides; slow: in all."""
    others, pairs = [loop for loop in LOOPS if loop != "torch"], []
    for name in registry.names("strategies"):
        quick = ("torch", others[zlib.crc32(name.encode()) % len(others)])
        for loop in LOOPS:
            marks = [] if loop in quick else [pytest.mark.slow]
            pairs.append(pytest.param(name, loop, marks=marks, id=f"{name}-{loop}"))
    return pairs


@pytest.mark.parametrize(("name", "loop"), strategies_in_loops())
def test_a_strategy_in_a_loop(name: str, loop: str) -> None:
    calls, plain = Calls(), Calls()
    strategy = registry.load("strategies", name)()
    world, other = Towers(strategy), Towers(strategy)
    if [*strategy.phases(None)] != [Phase()] and loop in ("lightning", "transformers"):
        with pytest.raises(TypeError, match="trains in phases"):
            LOOPS[loop](strategy, world)
        return
    LOOPS[loop](calls.watch(strategy), world)
    by_hand(plain.watch(registry.load("strategies", name)()), other.learner, world.stream, calls.batches)
    if strategy.trains:
        assert calls.order == plain.order
        assert calls.norms == pytest.approx(plain.norms, rel=1e-4)
    for key, value in other.model.state_dict().items():
        torch.testing.assert_close(world.model.state_dict()[key], value, rtol=1e-4, atol=1e-6, msg=key)
