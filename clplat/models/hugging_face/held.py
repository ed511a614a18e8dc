"""The tensors of a file, taken one by one under their names of transformers: none is missed, none is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clplat.errors import UserError

__all__ = ["Held"]

#: Counters 0, 1, 2, ..., which older files keep.
_NO_WEIGHTS = "position_ids"


class Held:
    """Weights by name.

    Args:
        tensors: of the file.
        where: the file, for messages.
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.where = where
        self._left = {name: t for name, t in tensors.items() if not name.endswith(_NO_WEIGHTS)}

    def take(self, name: str) -> Tensor:
        """One tensor; UserError where it is not there."""
        if name not in self._left:
            raise UserError(f"{self.where} does not fit its config.json: it lacks tensor {name}")
        return self._left.pop(name)

    def layer(self, source: str, target: str) -> dict[str, Tensor]:
        """Weight and bias of a layer under another name."""
        return {f"{target}.{part}": self.take(f"{source}.{part}") for part in ("weight", "bias")}

    def layers(self, source: str, target: str, names: Mapping[str, str]) -> dict[str, Tensor]:
        """Weights and biases of several layers, name there -> name here."""
        found: dict[str, Tensor] = {}
        for theirs, ours in names.items():
            found |= self.layer(f"{source}.{theirs}", f"{target}.{ours}")
        return found

    def joined(self, sources: Sequence[str], part: str) -> Tensor:
        """Rows of several layers, one below the other, as fused attention keeps them."""
        return torch.cat([self.take(f"{source}.{part}") for source in sources])

    def refuse_rest(self) -> None:
        """Raise UserError for what nobody asked for: the model is not what its config.json says."""
        if self._left:
            first, *more = self._left
            others = f" and {len(more)} more" if more else ""
            raise UserError(
                f"{self.where} does not fit its config.json: nothing takes tensor {first}{others}"
            )
