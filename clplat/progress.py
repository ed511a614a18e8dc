"""Where training stands: what losses, strategies and schedules see of time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from clplat.randomness import generator

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """Where training stands, the same in every loop.

    Args:
        experience: number of the experience, from 0.
        epoch: pass over its data, from 0, of ``epochs`` in all of its phases together.
        phase: name of the phase of this experience; empty where it has but one.
        step: finished optimizer steps of the whole stream. In ``after_step`` the one just made is among them.
        done: finished steps of this experience, of ``total``; 0 in all where a loop does not say.

    Example:
        >>> Progress(done=3, total=12).fraction
        0.25
    """

    experience: int = 0
    epoch: int = 0
    epochs: int = 1
    phase: str = ""
    step: int = 0
    done: int = 0
    total: int = 0

    @property
    def fraction(self) -> float:
        """Share of this experience that is done, for ramps and schedules."""
        return self.done / self.total if self.total else 0.0

    def stepped(self) -> Progress:
        """After one more optimizer step."""
        return Progress(
            self.experience, self.epoch, self.epochs, self.phase, self.step + 1, self.done + 1, self.total
        )

    def generator(self, seed: int, purpose: str) -> torch.Generator:
        """A generator for what is drawn here and now; a resumed run draws the same.

        Args:
            seed: of the part that draws.
            purpose: what for: two draws at one step do not repeat each other.
        """
        return generator(seed, purpose, self.experience, self.step)
