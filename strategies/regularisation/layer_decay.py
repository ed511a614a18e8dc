"""Layer decay: the lower a block of a tower, the slower it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from clplat.config.space import Float
from clplat.mechanisms.parameter_groups import Group, layer_decay
from clplat.training.strategy import Strategy

__all__ = ["LayerDecay"]


class LayerDecay(Strategy):
    """Plain fine-tuning with layer-wise decay of the learning rate: ``lr_l = lr * factor^(L - l)``.

    What is general lies low in a tower and moves least. Block l of L; what comes before the blocks has
    ``factor^(L + 1)``, what is in no tower the whole rate.

    Args:
        factor: 1 is plain fine-tuning.

    References:
        Dong et al. 2022 (FT-CLIP), CLIP Itself is a Strong Fine-tuner, arXiv 2212.06138; Clark et al. 2020
        (ELECTRA), arXiv 2003.10555.

    Needs:
        A loop that asks for ``groups``, as clplat's trainer does; another one builds its optimizer with
        `clplat.mechanisms.parameter_groups.layer_decay`.

    Relations:
        FT-CLIP is this with `WeightAverage`.

    Example:
        >>> from strategies import LayerDecay
        >>> LayerDecay(factor=0.6).factor
        0.6
    """

    def __init__(self, factor: Annotated[float, Float(0.3, 1.0)] = 0.65) -> None:
        if not 0 < factor <= 1:
            raise ValueError(f"factor must be in (0, 1], not {factor}")
        self.factor = factor

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        return layer_decay(names, self.factor)
