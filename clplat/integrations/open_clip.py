"""A strategy in the training loop of open_clip, which runs as it is."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.extras import named_extras
from clplat.models.outputs import Outputs
from clplat.training.experience import Running
from clplat.training.watch import innermost

with named_extras("a strategy in open_clip's training loop"):
    from open_clip import get_input_dtype
    from open_clip_train import train
    from open_clip_train.precision import get_autocast

__all__ = ["outputs_of", "train_one_epoch"]


def outputs_of(made: Any) -> Outputs:
    """What a strategy sees of open_clip's outputs: texts are the queries, pictures the candidates.

    Args:
        made: a dict with ``image_features``, ``text_features`` and ``logit_scale``, or these three.
    """
    if isinstance(made, dict):
        made = made["image_features"], made["text_features"], made["logit_scale"]
    images, texts, scale = made[:3]
    return Outputs(texts, images, scale)


def train_one_epoch(
    experience: Running,
    model: nn.Module,
    data: Any,
    loss: Callable[..., dict[str, Tensor]],
    epoch: int,
    optimizer: Any,
    scaler: Any,
    scheduler: Any,
    dist_model: Any,
    args: Any,
    tb_writer: Any = None,
) -> None:
    """``open_clip_train.train.train_one_epoch`` with a strategy: the arguments after the first are its own.

    Batches are pairs (images, texts); with ``accum_freq`` the strategy sees all pairs of a step, as the loss
    does. Gradients are clipped when the strategy has seen them.
    """
    args, limit = copy.copy(args), args.grad_clip_norm
    args.grad_clip_norm = None
    info = copy.copy(data["train"])
    info.dataloader = _Seen(info.dataloader, args)
    judge = _Judge(experience, loss, info.dataloader, args)
    learner = experience.learner
    learner.predict_fn, learner.loss_fn = judge.predict, _task_loss
    experience.follow(optimizer)
    experience.epoch(epoch)

    def clipped(*_: Any) -> None:
        if limit is not None:
            nn.utils.clip_grad_norm_(model.parameters(), limit)

    clip = innermost(optimizer).register_step_pre_hook(clipped)  # after the strategy's
    others = (optimizer, scaler, scheduler, dist_model, args, tb_writer)
    try:
        train.train_one_epoch(model, {**data, "train": info}, judge, epoch, *others)
    finally:
        clip.remove()


class _Seen:
    """A loader that knows the batches of the present step."""

    def __init__(self, loader: Any, args: Any) -> None:
        self.loader, self.device = loader, args.device
        self.dtype = get_input_dtype(args.precision)
        self.num_batches, self.num_samples = loader.num_batches, loader.num_samples
        self._batches: deque[Any] = deque(maxlen=args.accum_freq)

    def __iter__(self) -> Iterator[Any]:
        for images, texts in self.loader:
            self._batches.append((images.to(self.device, self.dtype), texts.to(self.device)))
            yield self._batches[-1]

    def batch(self) -> tuple[Tensor, ...]:
        """All pairs of the step."""
        return tuple(map(torch.cat, zip(*self._batches, strict=True)))


class _Judge:
    """open_clip's loss with the terms of the strategy."""

    def __init__(self, experience: Running, loss: Any, seen: _Seen, args: Any) -> None:
        self.experience, self.loss, self.seen, self.parts = experience, loss, seen, args.accum_freq
        self.autocast = get_autocast(args.precision, device_type=torch.device(args.device).type)

    def __call__(self, output_dict: bool = True, **made: Tensor) -> dict[str, Tensor]:
        # Called for each part of a step, and summed; the features of the other parts are constants each time.
        whole = {name: _times(value, self.parts) for name, value in made.items() if "features" in name}
        terms = (
            self.experience.loss(self.seen.batch(), outputs_of({**made, **whole}), whole=True) / self.parts
        )
        return {**self.loss(**made, output_dict=True), "strategy": terms}

    def predict(self, batch: Any) -> Outputs:
        with self.autocast():
            made = self.experience.learner.model(*batch)
            outputs = outputs_of(made)
            loss = torch.stack([*self.loss(**made, output_dict=True).values()]).sum()
        outputs.task_loss = loss  # type: ignore[attr-defined]  # made in the same pass
        return outputs


def _task_loss(batch: Any, outputs: Any) -> Tensor:
    if not hasattr(outputs, "task_loss"):
        raise UserError(
            "this strategy needs a loss_fn(batch, outputs) for outputs of its own: this loop has none, "
            "its losses are computed with the model"
        )
    loss: Tensor = outputs.task_loss
    return loss


def _times(value: Tensor, factor: int) -> Tensor:
    """The same value with a multiple of its gradient."""
    return value if factor == 1 else value.detach() + factor * (value - value.detach())
