"""Phases of an experience: what is trained, how long and how fast, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from clplat.errors import UserError
from clplat.models.names import named_parameters
from clplat.parts.samplers._base import Sampler

__all__ = ["Phase", "Span", "hold", "spans", "trained_names"]


@dataclass(frozen=True)
class Phase:
    """A part of an experience with its own learning-rate schedule.

    Args:
        name: what ``learner.progress.phase`` says.
        epochs: passes over the data; ``train.epochs`` unless given.
        trainable: which of the tensors that are trainable in this experience are trained, by name. All unless
            given; what was frozen before the experience stays so.
        lr: learning rate of everything; those of the configuration unless given.
        sampler: which examples make a batch; that of the configuration unless given. A loop of one's own, or
            another library's, has its own batches.

    Example:
        >>> [Phase("head", epochs=1, trainable=lambda name: "composer" in name), Phase("all", lr=1e-4)][1].lr
        0.0001
    """

    name: str = ""
    epochs: int | None = None
    trainable: Callable[[str], bool] | None = None
    lr: float | None = None
    sampler: Sampler | None = None


@dataclass(frozen=True)
class Span:
    """A phase and its epochs, from ``start`` to before ``stop``, counted in the experience."""

    phase: Phase
    start: int
    stop: int


def spans(phases: Sequence[Phase], epochs: int) -> list[Span]:
    """Which epochs of an experience belong to which phase.

    Args:
        epochs: of a phase that does not say.

    Raises:
        UserError: there is no phase, one without an epoch, or two of one name.

    Example:
        >>> [(s.phase.name, s.start, s.stop) for s in spans([Phase("a", epochs=1), Phase("b")], epochs=4)]
        [('a', 0, 1), ('b', 1, 5)]
    """
    found: list[Span] = []
    for phase in phases:
        length = epochs if phase.epochs is None else phase.epochs
        if length < 1:
            raise UserError(f"phase '{phase.name}' needs at least one epoch, not {length}")
        if phase.name in {span.phase.name for span in found}:
            raise UserError(f"two phases of one experience have the name '{phase.name}'")
        start = found[-1].stop if found else 0
        found.append(Span(phase, start, start + length))
    if not found:
        raise UserError("an experience needs at least one phase")
    return found


def trained_names(model: nn.Module) -> list[str]:
    """The names of what is trainable now."""
    return [name for name, parameter in named_parameters(model) if parameter.requires_grad]


def hold(model: nn.Module, names: Iterable[str], phase: Phase | None = None) -> None:
    """Let exactly these tensors be trainable, or those of them that a phase trains.

    Raises:
        UserError: the phase trains none.
    """
    chosen = {name for name in names if phase is None or phase.trainable is None or phase.trainable(name)}
    if phase is not None and not chosen:
        raise UserError(f"phase '{phase.name}' trains nothing of what is trainable in this experience")
    for name, parameter in named_parameters(model):
        parameter.requires_grad_(name in chosen)
        if name not in chosen:
            parameter.grad = None
