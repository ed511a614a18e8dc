"""Alternate training: parts of a model are trained in turns, each while the others are held still."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from clplat.config.space import Int
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy

__all__ = ["Alternate"]


class Alternate(Strategy):
    """Trains parts of the model in turns, where training them together gives less.

    An experience has a phase for each part, in their order, and this ``rounds`` times; each phase has a
    learning-rate schedule of its own.

    Args:
        turns: regular expressions of the tensors' names; a tensor belongs to the first that is found in its
            name. What none names is the last part.
        rounds: how often all parts take their turn.
        epochs: of a phase; ``train.epochs`` unless given.

    Raises:
        ValueError: no part, fewer than one round or epoch, or an expression that is none.

    References:
        Zhang et al. 2024 (SliME), "Beyond LLaVA-HD: Diving into High-Resolution Large Multimodal Models",
        arXiv 2406.08487, which trains the blocks for whole pictures and for their patches alternately.

    Needs:
        A model with trainable tensors of every part, by default a `ComposedRetriever`; a loop with epochs.

    Relations:
        `Naive` trains everything together.

    Example:
        >>> [phase.name for phase in Alternate(["visual"], rounds=2).phases(None)]
        ['part 1, round 1', 'part 2, round 1', 'part 1, round 2', 'part 2, round 2']
    """

    any_module = False

    def __init__(
        self,
        turns: Sequence[str] = ("visual|picture",),
        rounds: Annotated[int, Int(1, 4)] = 1,
        epochs: int | None = None,
    ) -> None:
        if not turns or rounds < 1 or (epochs is not None and epochs < 1):
            raise ValueError(
                f"turns, rounds and epochs must be at least 1, not {len(turns)}, {rounds} and {epochs}"
            )
        for part in turns:
            try:
                re.compile(part)
            except re.error as error:
                raise ValueError(f"turns holds '{part}', which is no regular expression: {error}") from error
        self.turns, self.rounds, self.epochs = turns, rounds, epochs

    def phases(self, experience: Any) -> Sequence[Phase]:
        return [
            Phase(f"part {part + 1}, round {turn + 1}", self.epochs, _Part(self.turns, part))
            for turn in range(self.rounds)
            for part in range(len(self.turns) + 1)
        ]


class _Part:
    """Whether a tensor belongs to a part, by its name."""

    def __init__(self, parts: Sequence[str], part: int) -> None:
        self._parts, self._part = parts, part

    def __call__(self, name: str) -> bool:
        found = (i for i, part in enumerate(self._parts) if re.search(part, name))
        return next(found, len(self._parts)) == self._part
