"""A strategy in a loop with Hugging Face accelerate: accumulation, mixed precision, several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from clplat.training.experience import Running

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["backward"]


def backward(accelerator: Accelerator, loss: Tensor, experience: Running) -> None:
    """``accelerator.backward(loss)``, after which the strategy sees the gradients of a whole step.

    They are accumulated, reduced over processes, unscaled, and not yet clipped.

    Args:
        loss: of this batch, with ``experience.loss(batch, outputs)`` in it.
        experience: whose learner has the bare model, not what ``accelerator.prepare`` made of it.
    """
    accelerator.backward(loss)
    if accelerator.sync_gradients:
        scaler = accelerator.scaler
        experience.after_backward(None if scaler is None else scaler.get_scale())
