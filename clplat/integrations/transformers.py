"""A strategy in a Hugging Face ``Trainer``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from clplat.errors import UserError
from clplat.extras import named_extras
from clplat.models.outputs import Outputs
from clplat.training.experience import Running
from clplat.trees import load_tree, save_tree

with named_extras("a strategy in a Hugging Face trainer"):
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

__all__ = ["StrategyCallback", "StrategyTrainer", "WithStrategy"]


class StrategyCallback(TrainerCallback):  # type: ignore[misc]
    """Tells an experience of the trainer's optimizer and of its epochs, and is part of its checkpoints.

    Beside the files of a checkpoint lies ``strategy.safetensors``; of a strategy that stores what its own
    process saw, one file for each process.
    """

    def __init__(self, experience: Running) -> None:
        self.experience, self._inside = experience, False

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.experience.follow(given["optimizer"])

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if not self._inside:  # else it goes on where the checkpoint was written
            self.experience.epoch(int(state.epoch or 0))
        self._inside = False

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        own = not getattr(self.experience.strategy, "shares", True)
        if state.is_world_process_zero or own:
            folder = Path(args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
            save_tree(
                self._file(folder, args), self.experience.state_dict() | {"within": state.epoch % 1 > 0}
            )

    def restore(self, folder: Path, args: Any) -> None:
        """Go on from a checkpoint of the trainer.

        Raises:
            UserError: it was written without this callback, or in another experience.
        """
        if not (file := self._file(folder, args)).exists():
            raise UserError(f"{folder} holds nothing of the strategy: {file.name} is not there")
        state = load_tree(file)
        self.experience.load_state_dict(state)
        self._inside = state["within"]

    def _file(self, folder: Path, args: Any) -> Path:
        own = not getattr(self.experience.strategy, "shares", True) and args.world_size > 1
        return folder / (f"strategy_{args.process_index}.safetensors" if own else "strategy.safetensors")


class WithStrategy:
    """Put before any trainer class of Hugging Face's: ``class Mine(WithStrategy, Trainer)``.

    Outputs and losses of a batch are the trainer's own: the learner needs a model and nothing else, but for
    strategies that judge outputs of their own (`ERACE`) a ``loss_fn``. A model
    whose forward has the one argument ``batch`` is for batches of any kind, which strategies see as they are.

    Args:
        experience: on whose data is trained. All other arguments are those of the trainer.
    """

    def __init__(self, *arguments: Any, experience: Running, **more: Any) -> None:
        data = _table(experience.dataset)
        super().__init__(*arguments, train_dataset=data, **more)  # type: ignore[call-arg]
        self.experience, learner = experience, experience.learner
        learner.dataset = self.train_dataset  # type: ignore[attr-defined]
        learner.predict_fn, learner.loss_fn = self._predict, partial(_task_loss, own=learner.loss_fn)
        self._constant: dict[str, Any] = {}
        join = self.joins()
        learner.collate_fn = learner.collate_fn or (lambda rows: self._bare(join(rows)))
        self._told = StrategyCallback(experience)
        self.add_callback(self._told)  # type: ignore[attr-defined]

    def joins(self: Any) -> Any:
        """What makes a batch of examples."""
        return self._get_collator_with_removed_columns(self.data_collator)

    def seen(self: Any, outputs: Any) -> Any:
        """What a strategy sees of the model's outputs; override it for a model of your own."""
        if {"text_embeds", "image_embeds"} <= outputs.keys():
            scale = self.experience.learner.model.logit_scale.exp()
            return Outputs(outputs["text_embeds"], outputs["image_embeds"], scale)
        return outputs["logits"]

    def judged(self, model: Any, inputs: Any, items: Any = None) -> tuple[Tensor, Any]:
        """The task's loss of a batch, and the model's outputs."""
        found: tuple[Tensor, Any] = super().compute_loss(  # type: ignore[misc]
            model, dict(inputs), return_outputs=True, num_items_in_batch=items
        )
        return found

    def compute_loss(
        self: Any, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = self.judged(model, inputs, num_items_in_batch)
        if model.training:
            terms = self.experience.loss(self._bare(inputs), self.seen(outputs))
            loss = loss + terms / self._parts(num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _parts(self: Any, items: Any) -> int:
        """By what a mean over this batch must be divided here, because the trainer will not."""
        told = getattr(self, "loss_is_scaled_for_ga", None)
        counted = self.model_accepts_loss_kwargs and items is not None
        divided = bool(told) if told is not None else counted or self.compute_loss_func is not None
        return int(self.current_gradient_accumulation_steps) if divided else 1

    def training_step(self: Any, *arguments: Any, **more: Any) -> Any:
        loss = super().training_step(*arguments, **more)  # type: ignore[misc]
        if self.accelerator.sync_gradients:
            scaler = self.accelerator.scaler
            self.experience.after_backward(None if scaler is None else scaler.get_scale())
        return loss

    def train(self: Any, resume_from_checkpoint: Any = None, **more: Any) -> Any:
        last = resume_from_checkpoint is True
        folder = get_last_checkpoint(self.args.output_dir) if last else resume_from_checkpoint
        if folder:
            self._told.restore(Path(folder), self.args)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **more)  # type: ignore[misc]

    def _bare(self, inputs: Any) -> Any:
        """What a strategy sees of a batch: what has a row per example."""
        if inputs.keys() == {"batch"}:
            return inputs["batch"]
        rows = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.ndim}
        self._constant = {name: value for name, value in inputs.items() if name not in rows}
        return rows

    def _predict(self: Any, batch: Any) -> Any:
        with self.compute_loss_context_manager():
            inputs = {**self._constant, **batch} if isinstance(batch, Mapping) else {"batch": batch}
            loss, outputs = self.judged(self.model, self._prepare_inputs(inputs))
        seen = self.seen(outputs)
        seen.task_loss = loss  # made in the same pass
        return seen


class StrategyTrainer(WithStrategy, Trainer):  # type: ignore[misc]
    """``transformers.Trainer`` with a strategy: ``StrategyTrainer(model, args, experience=experience)``."""


def _task_loss(batch: Any, outputs: Any, own: Callable[[Any, Any], Tensor] | None) -> Tensor:
    if not hasattr(outputs, "task_loss"):
        if own is not None:
            return own(batch, outputs)
        raise UserError(
            "this strategy needs a loss_fn(batch, outputs) for outputs of its own: this loop has none, "
            "its losses are computed with the model"
        )
    loss: Tensor = outputs.task_loss
    return loss


def _table(data: Any) -> Any:
    """Tables of the library `datasets` joined as one of its own: trainers ask for its columns."""
    if not isinstance(data, ConcatDataset):
        return data
    held: list[Any] = [*data.datasets]
    parts = [p.dataset.select(p.indices) if _chosen(p) else p for p in held]
    if all(hasattr(part, "column_names") for part in parts):
        from datasets import concatenate_datasets

        return concatenate_datasets(parts)
    return data


def _chosen(part: Any) -> bool:
    """Whether it is some rows of a table."""
    return isinstance(part, Subset) and hasattr(part.dataset, "column_names")
