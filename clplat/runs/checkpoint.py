"""State of an experiment on disk: one rolling checkpoint, and the small weights of every finished version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.documents.version import read_version
from clplat.errors import UserError
from clplat.mechanisms.examples import floats_on
from clplat.models.hashes import tensor_digest
from clplat.training.optimizer import named_tensors
from clplat.training.strategy import Strategy, SupportsLearning
from clplat.training.trainer import Position, Trainer
from clplat.trees import load_tree, save_tree

_FORMAT = 2


class _State(TypedDict):
    """What a checkpoint holds."""

    __pydantic_config__ = {"arbitrary_types_allowed": True}  # type: ignore[misc]  # noqa: RUF012

    format: int
    position: list[int]
    step: int
    flops: float
    flops_per_step: dict[Any, Any]
    losses: list[Any]
    weights: dict[str, Tensor]
    trainable: list[str]
    optimizer: dict[str, dict[str, Any]]
    strategy: dict[str, Any]
    result: dict[str, Any]


class Weights:
    """The tensors of a model that differ from its base: all that were ever trainable, and stored buffers.

    A LoRA run stores its LoRA; what was never trained comes from the backbone, whose fingerprint is checked.
    Frozen weights that a strategy writes to, as a merge does, are noticed and stored as well. Buffers are
    stored whole: those of a trained batch norm move although they are not trained.

    Args:
        model: as it is before the stream.
        base: parameters that come back with the backbone, and the digests of the values that they have then.
    """

    def __init__(self, model: nn.Module, base: Mapping[nn.Parameter, str] | None = None) -> None:
        self.model, self._base = model, base or {}
        self._touched: set[str] = set()
        self._versions = {parameter: parameter._version for parameter in model.parameters()}

    def look(self) -> None:
        """Note what is trainable, or was written to; a strategy may freeze it before the next checkpoint."""
        versions = self._versions
        self._touched |= {
            name
            for name, p in self.model.named_parameters()
            if p.requires_grad or p._version != versions.get(p)  # what has grown since may be frozen
        }

    def tensors(self) -> dict[str, Tensor]:
        """Name -> current value."""
        self.look()
        chosen = {name: p.detach() for name, p in self.model.named_parameters() if name in self._touched}
        # Without buffers that are derived (`persistent=False`), which a state dict leaves out.
        stored = self.model.state_dict()
        return chosen | {name: buffer for name, buffer in self.model.named_buffers() if name in stored}

    def moved(self) -> dict[str, Tensor]:
        """`tensors` without those that are as the backbone brings them: a version is put into a new model."""
        named = dict(self.model.named_parameters())
        known = {name: self._base[p] for name, p in named.items() if p in self._base}
        return {
            name: tensor
            for name, tensor in self.tensors().items()
            if name not in known or tensor_digest(tensor) != known[name]
        }

    def finite(self) -> bool:
        """Whether no number in `tensors` is NaN or infinite."""
        return all(bool(torch.isfinite(t).all()) for t in self.tensors().values() if t.is_floating_point())

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put values back; the structure (adapters, composer) must be there already."""
        held = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        for name, value in tensors.items():
            if name not in held:
                raise UserError(
                    f"the checkpoint holds '{name}', which the model of this configuration does not have"
                )
            if held[name].shape != value.shape:
                shapes = f"{tuple(value.shape)}, the model's {tuple(held[name].shape)}"
                raise UserError(f"the checkpoint's '{name}' has shape {shapes}")
            held[name].copy_(value)
        self._touched |= {name for name, _ in self.model.named_parameters() if name in tensors}


def save_state(path: Path, trainer: Trainer, weights: Weights, result: dict[str, Any]) -> None:
    """Write everything that an interrupted experiment needs to end with the same bits."""
    place = trainer.position
    save_tree(
        path,
        {
            "format": _FORMAT,
            "position": [place.experience, place.epoch, place.iteration],
            "step": trainer.step,
            "flops": trainer.flops,
            "flops_per_step": dict(trainer.flops_per_step),
            "flops_between": trainer.flops_between,
            "passes": {"sum": dict(trainer.passes), "step": dict(trainer.passes_per_step)},
            "losses": trainer.losses,
            "weights": weights.tensors(),
            "trainable": [name for name, p in trainer.model.named_parameters() if p.requires_grad],
            # A sampler that looks at the weights would find others when the run is resumed.
            "batches": trainer.drawn if trainer.current_sampler.looks else None,
            "held": trainer.strategy_plugin.held,
            "optimizer": _moments(trainer),
            "loss": trainer.task.state_dict(),
            "strategy": trainer.strategy.state_dict(),
            "result": result,
        },
    )


def load_state(path: Path, trainer: Trainer, weights: Weights) -> dict[str, Any]:
    """Restore a trainer in the order that its parts need; return the result as it stood, unread."""
    state = load_tree(path)
    if isinstance(state, dict) and state.get("format", _FORMAT) != _FORMAT:
        raise UserError(f"{path} was written by another version of clplat")
    checked(state, _State, path, "checkpoint of a run")
    with _fitting(path):
        _restore(state, trainer, weights)
    result: dict[str, Any] = state["result"]
    return result


def _restore(state: dict[str, Any], trainer: Trainer, weights: Weights) -> None:
    place = Position(*state["position"])
    if place != Position():  # before its first experience a strategy is as it was made
        strategy = trainer.strategy
        strategy.load_state_dict(floats_on(trainer.device, state["strategy"]))
        strategy.rebuild(trainer.learner)
    # In the middle of an experience `before_experience`, which may freeze and unfreeze, is not called again.
    trainable = set(state["trainable"])
    for name, parameter in trainer.model.named_parameters():
        parameter.requires_grad_(name in trainable)
    weights.restore(state["weights"])
    trainer.strategy_plugin.held, trainer.drawn = state.get("held"), state.get("batches")
    trainer.resume_at(place, state["step"])
    trainer.flops, trainer.flops_per_step = state["flops"], state["flops_per_step"]
    trainer.flops_between = state.get("flops_between", 0)  # which older checkpoints do not know
    passes = state.get("passes", {"sum": {}, "step": {}})
    trainer.passes, trainer.passes_per_step = Counter(passes["sum"]), passes["step"]
    trainer.losses = state["losses"]
    trainer.task.load_state_dict(state.get("loss", {}))  # losses of release 0.1.0 had none
    parameters = dict(named_tensors(trainer.model, trainer.task))
    for name, moments in state["optimizer"].items():
        own = parameters[name]  # its step counter, a scalar, stays on the CPU
        trainer.optimizer.state[own] = {
            key: value.to(own.device) if isinstance(value, Tensor) and value.dim() else value
            for key, value in moments.items()
        }


def _moments(trainer: Trainer) -> dict[str, Any]:
    """The optimizer's state by parameter *name*: it survives growth, freezing and another order."""
    state = trainer.optimizer.state
    named = named_tensors(trainer.model, trainer.task)
    return {name: dict(state[p]) for name, p in named if p in state}


def save_version(path: Path, trainer: Trainer, weights: Weights) -> None:
    """Write one finished model version: its weights, and what a growing strategy needs to rebuild it."""
    strategy = trainer.strategy
    grows = type(strategy).rebuild is not Strategy.rebuild and trainer.position != Position()
    save_tree(path, {"weights": weights.moved(), "strategy": strategy.state_dict() if grows else None})


def load_version(path: Path, strategy: Strategy, learner: SupportsLearning) -> None:
    """Put a finished version into the learner's model, which is as it was before the stream."""
    weights = Weights(learner.model)
    state = read_version(path)
    with _fitting(path):
        if state["strategy"] is not None:
            strategy.load_state_dict(state["strategy"])
            strategy.rebuild(learner)
        weights.restore(state["weights"])


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """What the parts of a run make of a state that is not theirs, as one line that names the file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path} does not fit: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"{path} does not fit the parts of this run: {said}") from error
