"""MonteCLoRA's draws, made when they are used: a resumed run draws the same, and a model can be copied."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from torch import Tensor

__all__ = ["draw_when_used"]


def draw_when_used(layers: Iterable[Any], name: str) -> None:
    """Let the samplers of the adapter ``name`` draw from torch's generator in every pass.

    PEFT's own draw for many passes ahead when they are made, outside all state, and keep the graph of the
    newest pass in buffers.
    """
    for layer in layers:
        layer.lora_monteclora_sampler[name].__class__ = _sampler()


@cache
def _sampler() -> Any:
    from peft.tuners.lora.monteclora import MontecloraSampler

    class Sampler(MontecloraSampler):  # type: ignore[misc]
        """PEFT's sampler, whose buffers stay as they are; what `get_variational_loss` reads is kept apart."""

        gaussian_var_prior: Tensor
        expert_weights: Tensor
        _drawn: tuple[Tensor, Tensor] | None = None

        def forward(self) -> tuple[Tensor, Tensor]:
            self.sampler._refill_buffer()
            before = self.gaussian_var_prior, self.expert_weights
            made: tuple[Tensor, Tensor] = super().forward()
            self._drawn = self.gaussian_var_prior, self.expert_weights
            self.gaussian_var_prior, self.expert_weights = before
            return made

        def get_variational_loss(self) -> Any:
            before, drawn = (self.gaussian_var_prior, self.expert_weights), self._drawn
            self.gaussian_var_prior, self.expert_weights = drawn if drawn is not None else before
            try:
                return super().get_variational_loss()
            finally:
                self.gaussian_var_prior, self.expert_weights = before
                self._drawn = None

        def __getstate__(self) -> dict[str, Any]:
            return {**self.__dict__, "_drawn": None}  # a graph cannot be copied

    return Sampler
