"""How an Avalanche template handles our batches and our optimizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clplat.config.groups import TrainConfig
from clplat.data.batch import Batch
from clplat.data.records import Example
from clplat.mechanisms.parameter_groups import Group
from clplat.models.outputs import Outputs
from clplat.parts.losses._base import Loss
from clplat.parts.samplers._base import Sampler
from clplat.progress import Progress
from clplat.randomness import generator, seeded
from clplat.training.accumulation import embed_in_parts
from clplat.training.avalanche import SupervisedTemplate
from clplat.training.batches import loaded
from clplat.training.examples_in import examples_in
from clplat.training.loss_log import LossLog, Position
from clplat.training.optimizer import hold_trainable, named_tensors, set_learning_rates
from clplat.training.phases import Span
from clplat.training.plugin import AvalancheLearner, StrategyPlugin
from clplat.training.step import counting, in_batches

__all__ = ["RetrievalTemplate", "task_terms"]

#: Of more examples what is frozen is computed with the batch that needs it, so that training begins at once.
_PREPARED = 1 << 17


def task_terms(loss: Loss, outputs: Outputs, batch: Batch, progress: Progress) -> dict[str, Tensor]:
    """A loss's terms by name: of the outputs, or of each of their views with its weight, ``<term>/<view>``.

    Matryoshka, say, is any loss on every prefix.
    """
    found: dict[str, Tensor] = {}
    for view, seen in (outputs.views or {"": outputs}).items():
        made = loss(seen, batch, progress)
        terms = made if isinstance(made, dict) else {"task": made}
        if not view:
            return terms
        found |= {f"{name}/{view}": seen.weight * term for name, term in terms.items()}
    return found


class RetrievalTemplate(SupervisedTemplate):  # type: ignore[misc]
    """Avalanche's template with a `Batch` as its minibatch, and `Outputs` as what the model makes of it."""

    mbatch: Any
    model: Any
    #: A backbone is.
    pretrained = True
    config: TrainConfig
    learner: AvalancheLearner
    task: Loss
    collate: Callable[[Sequence[Example]], Batch]
    seed: int
    position: Position
    resuming: bool
    steps_per_epoch: int
    sampler: Sampler
    flops: int
    flops_per_step: dict[int, int]
    loss_log: LossLog
    strategy_plugin: StrategyPlugin
    #: The batches of this epoch.
    drawn: list[list[int]] | None
    _drawn_at: tuple[int, int] | None
    _source: Any
    _records: Sequence[Example]
    _stop_training: bool
    _trained: list[nn.Parameter]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: What strategies compute between steps.
        self.flops_between = 0
        self.passes_per_step: dict[int, dict[str, float]] = {}
        self.passes: Counter[str] = Counter()

    def _count(self, step: Callable[[], None]) -> None:
        """Make a step, and find out what each step of this experience takes."""
        with counting(self.model.cache, self.config.compile) as counter:
            step()
        number = self.position.experience
        self.flops_per_step[number] = counter.total
        self.passes_per_step[number] = in_batches(counter.passes, self.mbatch)

    def _spend(self) -> None:
        """A step was made."""
        self.flops += self.flops_per_step[self.position.experience]
        self.passes.update(self.passes_per_step.get(self.position.experience, {}))

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Inside, what is computed belongs to no step: a strategy's work once a domain or an epoch."""
        with counting(self.model.cache, self.config.compile) as counter:
            yield
        self.flops_between += counter.total

    def train(self, experiences: Any, *args: Any, **more: Any) -> Any:
        """Train on one experience or on several; one without data changes nothing, and no hook sees it."""
        given = [experiences] if hasattr(experiences, "dataset") else list(experiences)
        held = [experience for experience in given if len(experience.dataset)]
        return super().train(held, *args, **more) if held else {}

    def _unpack_minibatch(self) -> None:
        self.mbatch = self.mbatch.to(self.device)

    mb_x = property(lambda self: self.mbatch)
    mb_y = property(lambda self: self.mbatch.labels)
    mb_task_id = property(lambda self: None)

    def forward(self) -> Outputs:
        if self.config.micro_batch is not None:
            return embed_in_parts(self.model, self.mbatch, self.config.micro_batch)
        outputs: Outputs = self.model(self.mbatch)
        return outputs

    def objectives(self) -> dict[str, Tensor]:
        """What the model is trained on for the batch, by name: the loss's terms, then the model's own."""
        terms = task_terms(self.task, self.mb_output, self.mbatch, self.learner.progress)
        return {**terms, **self.mb_output.terms}

    def criterion(self) -> Tensor:
        first, *others = self.objectives().values()
        return sum(others, start=first)

    def check_model_and_optimizer(self, **_: Any) -> None:
        self.model, self.task = self.model.to(self.device), self.task.to(self.device)
        self.make_optimizer()

    def make_optimizer(self, **_: Any) -> None:
        """Hold exactly the trainable tensors; after each experience the state is kept or reset."""
        if self.config.reset_optimizer and not self.resuming:
            self.optimizer.state.clear()
        self.hold_trainable()

    def hold_trainable(self) -> None:
        """Let the optimizer hold what is trainable now."""
        tensors = named_tensors(self.model, self.task)
        self._trained = hold_trainable(self.optimizer, tensors, self.groups)

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        """Tensors that are optimized in their own way."""
        raise NotImplementedError

    def _set_learning_rates(self) -> Span:
        """Each phase has a schedule of its own."""
        place, steps = self.position, self.steps_per_epoch
        span = self.strategy_plugin.span(place.epoch)
        done = (place.epoch - span.start) * steps + place.iteration
        total = max(1, (span.stop - span.start) * steps)
        set_learning_rates(self.optimizer, self.config, done, total, span.phase.lr)
        return span

    @property
    def losses(self) -> list[dict[str, float]]:
        """The loss terms of every step so far, ``loss`` being their sum.

        Raises:
            NonFiniteLoss: one of them is not finite.
        """
        self.loss_log.read()
        return self.loss_log.losses

    @losses.setter
    def losses(self, losses: list[dict[str, float]]) -> None:
        self.loss_log.losses = losses

    # -- data ---------------------------------------------------------------------------------------------

    def make_train_dataloader(self, **_: Any) -> None:
        """Batches of the current epoch, from the current iteration on; skipped batches are never decoded."""
        if self.adapted_dataset is not self._source:
            self._source = self.adapted_dataset
            self._records = examples_in(self._source)  # once per experience, not per epoch
            self._drawn_at = None
        place = self.position
        order = generator(self.seed, "order", place.experience, place.epoch)
        batches = self._batches(order)
        self.steps_per_epoch = len(batches)
        collate, reads_pixels = self._moment(), self.model.reads_pixels
        self.dataloader: DataLoader[Batch] = DataLoader(
            self._records,  # type: ignore[arg-type]
            batch_sampler=batches[place.iteration :],
            collate_fn=partial(loaded, collate) if reads_pixels else collate,
            num_workers=min(self.config.workers, len(batches)) if reads_pixels else 0,
            generator=order,  # the loader draws a seed for its workers; not from the global generator
            pin_memory=self.device.type == "cuda",
        )

    @property
    def current_sampler(self) -> Sampler:
        """Which examples make a batch now: a phase may have a sampler of its own."""
        return self.strategy_plugin.span(self.position.epoch).phase.sampler or self.sampler

    @property
    def inside_epoch(self) -> bool:
        """Whether this epoch had begun before an interruption."""
        return self.resuming and self.position.iteration > 0

    def _batches(self, order: torch.Generator) -> list[list[int]]:
        """Of this epoch. What depends on the weights is drawn once, or comes from the checkpoint."""
        place = (self.position.experience, self.position.epoch)
        sampler = self.current_sampler
        if sampler.looks and (self._drawn_at == place or (self.inside_epoch and self.drawn is not None)):
            assert self.drawn is not None
            return self.drawn
        size = self.train_mb_size

        def draw() -> None:
            self.drawn = sampler.batches(self._records, size, order, self.learner.embed)

        if sampler.looks:
            with seeded(self.seed, "sampler", *place):
                with counting(self.model.cache, self.config.compile) as counter:
                    draw()
                self.flops += counter.total
        else:
            draw()
        self._drawn_at = place
        assert self.drawn is not None
        return self.drawn

    def _moment(self) -> Callable[[Sequence[Example]], Batch]:
        """The collate function of this epoch: random views differ from epoch to epoch."""
        place = self.position
        at = getattr(self.collate, "at", None)
        return at(f"{place.experience}/{place.epoch}") if at is not None else self.collate

    def _prepare(self) -> None:
        """Compute what is frozen of this experience's data, once; growth may have changed what that is."""
        if self.model.cache is None:
            return
        self.model.cache.refresh()
        if len(self._records) > _PREPARED:
            return
        for start in range(0, len(self._records), 1024):
            batch = self._moment()(self._records[start : start + 1024])
            self.model.prepare(batch.pictures, batch.texts)
