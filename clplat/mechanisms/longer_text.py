"""Longer texts: a positional embedding that is stretched, but for the places that are well trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Stretched", "stretched"]


def stretched(positions: Tensor, keep: int, factor: int) -> Tensor:
    """Positions (L, W) as (keep + factor * (L - keep), W): the first as they are, the rest interpolated.

    Between two neighbours ``factor - 1`` new ones are set at equal distances; behind the last one the same
    steps go on, as far as there would be a next.

    Reference:
        Zhang et al., "Long-CLIP: Unlocking the Long-Text Capability of CLIP", ECCV 2024, arXiv:2403.15378.

    Example:
        >>> stretched(torch.tensor([[0.0], [1.0], [2.0], [4.0]]), keep=2, factor=2).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    rest = positions[keep:]
    steps = torch.cat([rest[1:] - rest[:-1], rest[-1:] - positions[-2:-1]])
    shares = torch.arange(factor, dtype=positions.dtype, device=positions.device) / factor
    between = rest[:, None] + shares[:, None] * steps[:, None]
    return torch.cat([positions[:keep], between.flatten(0, 1)])


class Stretched(nn.Module):
    """`stretched` positions, with a trained residual behind the first ``keep``; zero at first.

    Args:
        positions: as they are (L, W); keep, factor: as in `stretched`.
        name: of the residual's parameter among those of a module that it belongs to.
    """

    #: No text of a batch may be longer than what is kept: the residual has no gradient then.
    may_idle = True

    def __init__(self, positions: Tensor, keep: int, factor: int, name: str = "default") -> None:
        super().__init__()
        self.keep, self.factor, self.name = keep, factor, name
        rows = factor * (len(positions) - keep)
        self.residuals = nn.ParameterDict({name: nn.Parameter(positions.new_zeros(rows, positions.shape[1]))})

    def forward(self, positions: Tensor) -> Tensor:
        """The longer positions of (L, W)."""
        longer = stretched(positions, self.keep, self.factor)
        return torch.cat([longer[: self.keep], longer[self.keep :] + self.residuals[self.name]])
