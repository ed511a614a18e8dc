"""A readout: a new pooled feature, made of what a frozen tower computed."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from clplat.models.features import POOLED, ImageFeatures, TextFeatures, Wants, checked_wants
from clplat.models.stages import Tower

__all__ = ["Readout", "install_readout", "needed_of", "read_out", "readout_of"]


class Readout(nn.Module):
    """Stands behind a tower and replaces its pooled feature, wherever that is asked for.

    Nothing inside the tower changes: gradients end at the readout, and what it reads of a frozen tower is
    kept, so that training computes the readout alone. An adapter installs it with `install_readout`.
    """

    #: What it reads of the tower, of `clplat.models.features.WANTS`; ``"states"`` are kept, ``"hidden"`` not.
    wants: ClassVar[frozenset[str]] = POOLED

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The new pooled feature (B, D), not normalised."""
        raise NotImplementedError

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of its own, weighted, as means over the examples of the batch."""
        return {}


def install_readout(backbone: Any, tower: Tower, readout: Readout, name: str) -> None:
    """Read a tower of an `Encoders` out by ``readout`` whenever the adapter ``name`` is the active one."""
    if name not in backbone.readouts:
        backbone.readouts[name] = nn.ModuleDict()
    backbone.readouts[name][tower] = readout


def readout_of(backbone: Any, tower: Tower) -> Readout | None:
    """What replaces the pooled feature of this tower now."""
    for name, held in backbone.readouts.items():
        if name == backbone.adapters.active and tower in held:
            found: Readout = held[tower]
            return found
    return None


def needed_of(backbone: Any, tower: Tower, wants: Wants) -> frozenset[str]:
    """What the tower itself must give for these wants: its readout may need other things."""
    wants, readout = checked_wants(wants), readout_of(backbone, tower)
    return wants if readout is None or "pooled" not in wants else (wants - POOLED) | readout.wants


def read_out(backbone: Any, found: ImageFeatures | TextFeatures, wants: Wants) -> None:
    """Put the pooled feature of the readout in place of the tower's, in features of a bare tower."""
    readout = readout_of(backbone, "image" if isinstance(found, ImageFeatures) else "text")
    if readout is not None and "pooled" in wants:
        found.pooled = readout(found)
