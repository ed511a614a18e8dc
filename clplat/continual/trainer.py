"""The trainer: an Avalanche template for composed retrieval, resumable to the bit inside an epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from clplat.continual.plugin import AvalancheLearner, StrategyPlugin
from clplat.continual.settings import TrainConfig
from clplat.continual.strategy import Strategy
from clplat.data.records import Batch, Triplet
from clplat.errors import UserError
from clplat.models.retriever import ComposedRetriever, Outputs
from clplat.randomness import generator, seeded

__all__ = ["NonFiniteLoss", "Position", "TrainConfig", "Trainer", "domain_batches"]


@dataclass(frozen=True)
class Position:
    """Where training stands: the next batch is ``iteration`` of ``epoch`` of ``experience``."""

    experience: int = 0
    epoch: int = 0
    iteration: int = 0


class NonFiniteLoss(UserError):
    """The loss or its gradient became NaN or infinite; the weights from before this step are intact."""

    def __init__(self, position: Position, step: int, ids: list[str], terms: dict[str, float]) -> None:
        parts = ", ".join(f"{name} {value}" for name, value in terms.items())
        shown = ", ".join(ids[:4]) + (f", ... ({len(ids)} in all)" if len(ids) > 4 else "")
        what = "gradient" if all(math.isfinite(value) for value in terms.values()) else "loss"
        super().__init__(
            f"the {what} is not finite ({parts}) at step {step}, experience {position.experience}, epoch "
            f"{position.epoch}, iteration {position.iteration}; batch: {shown}"
        )
        self.step, self.ids, self.position = step, ids, position


def domain_batches(domains: Sequence[str], size: int, order: torch.Generator) -> list[list[int]]:
    """Shuffled batches of row numbers, each within one domain.

    In-batch negatives of another domain are told apart by style alone; keeping a batch within a domain makes
    them as hard as at evaluation. A last row that would stand alone joins the batch before it: it would have
    no negative.
    """
    batches: list[list[int]] = []
    groups: dict[str, list[int]] = {}
    for row, domain in enumerate(domains):
        groups.setdefault(domain, []).append(row)
    for rows in groups.values():
        shuffled = [rows[i] for i in torch.randperm(len(rows), generator=order).tolist()]
        cut = [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
        if len(cut) > 1 and len(cut[-1]) == 1:
            alone = cut.pop()
            cut[-1] += alone
        batches += cut
    return [batches[i] for i in torch.randperm(len(batches), generator=order).tolist()]


class Trainer(SupervisedTemplate):  # type: ignore[misc]
    """Trains a `ComposedRetriever` on a stream with one strategy; any Avalanche plugin may join.

    Args:
        model: the retriever.
        strategy: runs as a plugin, as in any other Avalanche template.
        collate: list of `Triplet` -> `Batch`.
        loss: ``(query, candidates, scale=, positive=, valid=, weights=) -> scalar``.
        config: see `TrainConfig`.
        seed: of orders and dropout.
        plugins: further Avalanche plugins.
        on_step: called after every optimizer step with the trainer; checkpoints and progress hang here.

    Example:
        ``Trainer(...).train(benchmark.train_stream)`` trains experience by experience.
    """

    mbatch: Any
    model: Any
    _stop_training: bool

    def __init__(
        self,
        *,
        model: ComposedRetriever,
        strategy: Strategy,
        collate: Callable[[Sequence[Triplet]], Batch],
        loss: Callable[..., Tensor],
        config: TrainConfig,
        seed: int,
        device: str = "cpu",
        plugins: Sequence[Any] = (),
        on_step: Callable[[Trainer], None] | None = None,
    ) -> None:
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        groups: list[dict[str, Any]] = [{"params": [], "role": "backbone"}, {"params": [], "role": "head"}]
        optimizer = kinds[config.optimizer](groups, lr=config.lr, weight_decay=config.weight_decay)
        self.strategy_plugin = StrategyPlugin(strategy)
        with warnings.catch_warnings():
            # Avalanche's own evaluation and loggers are not used: `Evaluator` and the tracker do that.
            warnings.filterwarnings("ignore", "No loggers specified")
            super().__init__(
                model=model,
                optimizer=optimizer,
                criterion=loss,
                train_mb_size=config.batch_size,
                train_epochs=config.epochs,
                device=device,
                plugins=[self.strategy_plugin, *plugins],
                evaluator=EvaluationPlugin,
                eval_every=-1,
            )
        self.collate, self.config, self.seed, self.on_step = collate, config, seed, on_step
        self.learner = AvalancheLearner(self)
        self.position = Position()
        self.step = 0
        self.losses: list[dict[str, float]] = []
        self.flops_per_step: dict[int, int] = {}
        self.flops = 0
        self.resuming = False

    def _before_training_exp(self, **kwargs: Any) -> None:
        if not self.resuming:
            self.position = Position(self.experience.current_experience)
        # Growth draws initial weights from torch's generator.
        with seeded(self.seed, "grow", self.position.experience):
            super()._before_training_exp(**kwargs)

    # -- data ---------------------------------------------------------------------------------------------

    def make_train_dataloader(self, **_: Any) -> None:
        """Batches of the current epoch, from the current iteration on; skipped batches are never decoded."""
        data: Any = self.adapted_dataset
        place = self.position
        order = generator(self.seed, "order", place.experience, place.epoch)
        batches = domain_batches([data[i].domain for i in range(len(data))], self.train_mb_size, order)
        self.steps_per_epoch = len(batches)
        self.dataloader = DataLoader(
            data,
            batch_sampler=batches[place.iteration :],
            collate_fn=self.collate,
            num_workers=self.config.workers,
            generator=order,  # the loader draws a seed for its workers; not from the global generator
            pin_memory=self.device.type == "cuda",
        )

    def _unpack_minibatch(self) -> None:
        self.mbatch = self.mbatch.to(self.device)

    mb_x = property(lambda self: self.mbatch)
    mb_y = property(lambda self: self.mbatch.labels)
    mb_task_id = property(lambda self: None)

    def forward(self) -> Outputs:
        outputs: Outputs = self.model(self.mbatch)
        return outputs

    def criterion(self) -> Tensor:
        batch, outputs = self.mbatch, self.mb_output
        loss: Tensor = self._criterion(
            outputs.query,
            outputs.candidates,
            scale=outputs.scale,
            positive=batch.positive,
            valid=batch.valid,
            weights=batch.weights,
        )
        return loss

    # -- model and optimizer ------------------------------------------------------------------------------

    def check_model_and_optimizer(self, **_: Any) -> None:
        self.model = self.model.to(self.device)
        self.make_optimizer()

    def make_optimizer(self, **_: Any) -> None:
        """The optimizer holds exactly the trainable tensors, grouped by role; survivors keep their state."""
        if self.config.reset_optimizer and not self.resuming:
            self.optimizer.state.clear()
        roles: dict[str, list[nn.Parameter]] = {"backbone": [], "head": []}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                roles["backbone" if name.startswith("backbone.") else "head"].append(parameter)
        alive = {id(parameter) for parameters in roles.values() for parameter in parameters}
        for parameter in [p for p in self.optimizer.state if id(p) not in alive]:
            del self.optimizer.state[parameter]
        for group in self.optimizer.param_groups:
            group["params"] = roles[group["role"]]

    def _schedule(self) -> None:
        config = self.config
        total = max(1, self.steps_per_epoch * config.epochs)
        done = self.position.epoch * self.steps_per_epoch + self.position.iteration
        factor = min(1.0, (done + 1) / max(1.0, config.warmup * total))
        if config.schedule == "cosine":
            factor *= 0.5 * (1 + math.cos(math.pi * done / total))
        for group in self.optimizer.param_groups:
            base = config.head_lr if group["role"] == "head" and config.head_lr is not None else config.lr
            group["lr"] = base * factor

    # -- loop ---------------------------------------------------------------------------------------------

    def resume_at(self, position: Position, step: int) -> None:
        """Continue at this place; inside an experience, the next `train` skips its beginning."""
        self.position, self.step = position, step
        self.resuming = (position.epoch, position.iteration) != (0, 0)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **_: Any) -> None:
        for epoch in range(self.position.epoch, self.train_epochs):
            self._before_training_epoch()
            if self._stop_training:
                self._stop_training = False
                break
            _evaluate_frozen_parts(self.model)
            if epoch != self.position.epoch:
                self.position = Position(self.position.experience, epoch, 0)
            self.make_train_dataloader()
            self.training_epoch()
            self._after_training_epoch()
        self.resuming = False

    def training_epoch(self, **_: Any) -> None:
        for batch in self.dataloader:
            if self._stop_training:
                break
            self.mbatch = batch
            place = self.position
            self._unpack_minibatch()
            self._schedule()
            with seeded(self.seed, "step", place.experience, place.epoch, place.iteration):
                if place.experience in self.flops_per_step:
                    self._one_step()
                else:
                    with FlopCounterMode(display=False) as counter:
                        self._one_step()
                    self.flops_per_step[place.experience] = counter.get_total_flops()
            self.flops += self.flops_per_step[place.experience]
            self.step += 1
            self.position = Position(place.experience, place.epoch, place.iteration + 1)
            if self.on_step is not None:
                self.on_step(self)

    def _one_step(self) -> None:
        self._before_training_iteration()
        self.optimizer.zero_grad()
        self._before_forward()
        self.mb_output = self.forward()
        self._after_forward()
        task = self.criterion()
        self.loss = task
        self._before_backward()
        if not bool(torch.isfinite(self.loss)):
            raise NonFiniteLoss(self.position, self.step, self.mbatch.ids, self._named(task))
        self.backward()
        self._after_backward()
        if self.position.epoch == 0 and self.position.iteration == 0:
            _refuse_dead_tensors(self.model, self.optimizer)
        # Frozen parts may hold a gradient of an earlier experience, which a resumed run has not.
        trained = [p for p in self.model.parameters() if p.requires_grad and p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if not bool(torch.isfinite(norm)):
            raise NonFiniteLoss(self.position, self.step, self.mbatch.ids, self._named(task))
        if self.config.clip is not None:
            nn.utils.clip_grads_with_norm_(trained, self.config.clip, norm)
        self._before_update()
        self.optimizer_step()
        self._after_update()
        self._after_training_iteration()
        self.losses.append(self._named(task))

    def _named(self, task: Tensor) -> dict[str, float]:
        terms = {"task": task, **self.strategy_plugin.terms, "loss": self.loss}
        return {name: float(value.detach()) for name, value in terms.items()}


def _evaluate_frozen_parts(model: nn.Module) -> None:
    """Frozen modules stay in evaluation mode: no dropout, no moving statistics, in what never trains."""
    model.train()
    for module in model.modules():
        if not any(p.requires_grad for p in module.parameters()) and any(True for _ in module.parameters()):
            module.eval()


def _refuse_dead_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """After the first backward pass every trainable tensor must have a gradient, and an optimizer."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    late = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if late:
        raise UserError(
            f"{len(late)} tensors became trainable after the optimizer was built: {', '.join(late[:3])}; "
            "add and unfreeze parts in before_experience"
        )
    dead = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if dead:
        more = f" and {len(dead) - 3} more" if len(dead) > 3 else ""
        raise UserError(
            f"{len(dead)} trainable tensors get no gradient: {', '.join(dead[:3])}{more}; "
            "the composer or the adapter's targets do not use them"
        )
