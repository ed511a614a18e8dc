"""Trainers that accumulate gradients: a strategy sees the mean over a step's batches, as the loss or not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from clplat import registry
from clplat.testing.by_hand import Calls, by_hand, sgd
from clplat.training.learner import Learner
from clplat.training.micro_batches import joined
from clplat.training.strategy import Strategy

#: With terms on weights, on outputs of the batch, and with a gradient that is read.
STRATEGIES = ("ewc", "der", "si", "l2_anchor")
STORING = [
    name
    for name in registry.names("strategies")
    if (part := registry.load("strategies", name)).any_module and part.stores == "exemplars"
]


class Classifier(nn.Module):
    """A model of Hugging Face's kind: rows in, loss and logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.layer(x)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class Summing(Classifier):
    """One that divides by the items of all accumulated batches, as language models do."""

    def forward(self, x: Tensor, labels: Tensor, num_items_in_batch: Any = None, **more: Any) -> Any:
        logits = self.layer(x)
        count = len(labels) if num_items_in_batch is None else num_items_in_batch
        return {"loss": cross_entropy(logits, labels, reduction="sum") / count, "logits": logits}


def rows(seed: int) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    x, labels = torch.randn(16, 5, generator=draw), torch.randint(3, (16,), generator=draw)
    return [{"x": one, "labels": label} for one, label in zip(x, labels, strict=True)]


def in_torch(strategy: Strategy, model: nn.Module) -> list[Any]:
    learner, stream = reader(model), [rows(0), rows(1)]
    for dataset in stream:
        with strategy.experience(learner, dataset) as experience:
            experience.follow(sgd(model))
            for i, batch in enumerate(DataLoader(experience.dataset, 4, shuffle=True)):
                made = model(**batch)
                ((made["loss"] + experience.loss(batch, made["logits"])) / 2).backward()
                if i % 2:
                    learner.optimizer.step()
                    learner.optimizer.zero_grad()
    return stream


def in_accelerate(strategy: Strategy, model: nn.Module) -> list[Any]:
    accelerate = pytest.importorskip("accelerate", reason="it comes with the extra [test-integrations]")
    from clplat.integrations.accelerate import backward

    accelerate.state.AcceleratorState._reset_state(True)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    learner, stream = reader(model), [rows(0), rows(1)]
    for dataset in stream:
        with strategy.experience(learner, dataset) as experience:
            data = DataLoader(experience.dataset, 4, shuffle=True)
            wrapped, optimizer, loader = accelerator.prepare(model, sgd(model), data)
            experience.follow(optimizer)
            for batch in loader:
                with accelerator.accumulate(wrapped):
                    made = wrapped(**batch)
                    backward(accelerator, made["loss"] + experience.loss(batch, made["logits"]), experience)
                    optimizer.step()
                    optimizer.zero_grad()
    return stream


def in_transformers(strategy: Strategy, model: nn.Module) -> list[Any]:
    transformers = pytest.importorskip("transformers", reason="it comes with the extra [test-integrations]")
    from clplat.integrations.transformers import StrategyTrainer

    args = transformers.TrainingArguments(
        "unused", num_train_epochs=1, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        optim="sgd", learning_rate=1e-3, lr_scheduler_type="constant", max_grad_norm=1e3, save_strategy="no",
        report_to="none", use_cpu=True, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    learner, stream = Learner(model), [rows(0), rows(1)]
    for dataset in stream:
        with strategy.experience(learner, dataset) as experience:
            StrategyTrainer(model, args, experience=experience).train()
    return stream


def in_lightning(strategy: Strategy, model: nn.Module) -> list[Any]:
    lightning = pytest.importorskip("lightning.pytorch", reason="it comes with the extra [test-integrations]")
    from clplat.integrations.lightning import StrategyCallback

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> Any:
            made = self.model(**batch)
            return made["loss"] + self.experience.loss(batch, made["logits"])

        def configure_optimizers(self) -> Any:
            return sgd(self.model)

    learner, stream, module = reader(model), [rows(0), rows(1)], Module()
    for dataset in stream:
        with strategy.experience(learner, dataset) as module.experience:
            trainer = lightning.Trainer(
                max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=2,
                gradient_clip_val=1e3, callbacks=[StrategyCallback(module.experience)],
            )  # fmt: skip
            trainer.fit(module, DataLoader(module.experience.dataset, 4, shuffle=True))
    return stream


def reader(model: nn.Module) -> Learner:
    return Learner(
        model, None, lambda batch: model(**batch)["logits"],
        lambda batch, outputs: cross_entropy(outputs, batch["labels"]),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
@pytest.mark.parametrize(
    ("run", "kind"),
    [(in_transformers, Classifier), (in_transformers, Summing), (in_lightning, Classifier)],
    ids=["transformers-mean", "transformers-sum", "lightning"],
)
@pytest.mark.parametrize("name", STRATEGIES)
def test_accumulated_batches_are_one_step(name: str, run: Any, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, other = kind(), kind()
    other.load_state_dict(model.state_dict())
    calls, plain = Calls(), Calls()
    part = registry.load("strategies", name)
    stream = run(calls.watch(part()), model)
    by_hand(plain.watch(part()), reader(other), stream, calls.batches, parts=2)
    assert calls.order == plain.order
    assert calls.norms == pytest.approx(plain.norms, rel=1e-5)
    for key, value in other.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-5, atol=1e-7, msg=key)


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
@pytest.mark.parametrize("run", [in_torch, in_accelerate, in_transformers, in_lightning])
@pytest.mark.parametrize("name", STORING)
def test_a_memory_is_offered_every_micro_batch(name: str, run: Any) -> None:
    strategy, whole, calls = registry.load("strategies", name)(), registry.load("strategies", name)(), Calls()
    torch.manual_seed(0)
    try:
        stream = run(calls.watch(strategy), Classifier())
    except TypeError as error:
        assert re.search(r"needs .*batches", str(error)), error
        return
    steps = [
        [joined(seen[i : i + 2]) for i in range(0, len(seen), 2)] for seen in calls.batches
    ]  # the same examples without accumulation
    by_hand(whole, reader(Classifier()), stream, steps)
    assert strategy.memory_bytes() == whole.memory_bytes() > 0
