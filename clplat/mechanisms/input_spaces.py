"""For each layer the directions that inputs of earlier domains took, by a share of their energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clplat.mechanisms.projection import leading_directions

__all__ = ["InputSpaces"]


class InputSpaces:
    """Orthonormal bases (D, k) that grow with every domain, as gradient projection memory keeps them.

    Args:
        threshold: share of the inputs' energy that the bases hold after the first domain, above 0.
        growth: added to it with every domain, up to all of it.

    Raises:
        ValueError: a threshold outside (0, 1], or a negative growth.

    References:
        Saha et al. 2021, Gradient Projection Memory for Continual Learning, arXiv 2103.09762.

    Example:
        >>> import torch
        >>> spaces = InputSpaces(threshold=0.9)
        >>> spaces.add({"layer": torch.diag(torch.tensor([4.0, 0.0]))})
        >>> spaces.bases["layer"].abs(), spaces.domains
        (tensor([[1.],
                [0.]]), 1)
    """

    def __init__(self, threshold: float, growth: float = 0.0) -> None:
        if not (0 < threshold <= 1 and growth >= 0):
            raise ValueError(
                f"threshold must be in (0, 1] and growth at least 0, not {threshold} and {growth}"
            )
        self.threshold, self.growth = threshold, growth
        self.bases: dict[str, Tensor] = {}
        self.domains = 0

    def add(self, energies: Mapping[str, Tensor]) -> None:
        """A domain is finished, whose inputs have these symmetric matrices (D, D) by layer."""
        share = min(1.0, self.threshold + self.growth * self.domains)
        for name, energy in energies.items():
            self.bases[name] = leading_directions(energy, self.bases.get(name), share)
        self.domains += 1

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {"bases": self.bases, "domains": self.domains}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.bases, self.domains = dict(state["bases"]), state["domains"]
