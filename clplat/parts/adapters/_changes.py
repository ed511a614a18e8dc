"""Adapters that are changes of layers under a name; those that were there stay, frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

from torch import nn

from clplat.mechanisms.growth import Change, Grown, merge_grown
from clplat.mechanisms.low_rank import linear
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._growing import put
from clplat.parts.adapters._targets import check_rank, resolve

__all__ = ["Changes", "Targets", "Where", "check_where", "linear_layers"]

Targets: TypeAlias = Literal["mlp", "attention", "both"] | Sequence[str]
Where: TypeAlias = Literal["both", "image", "text"]


def check_where(towers: str) -> None:
    """Refuse what is no tower."""
    if towers not in ("both", "image", "text"):
        raise ValueError(f"towers is '{towers}'; allowed: both, image, text")


class Changes(Adapter):
    """What adapters share that are made of a change for each of some layers."""

    #: What is noted of it, beside its options.
    method: ClassVar[str]
    #: What is put around a layer, of the layer and the state of the backbone.
    place: ClassVar[type[Grown]] = Grown

    def makers(self, backbone: Backbone) -> Mapping[str, Callable[[Any], Change]]:
        """What makes the change of each layer, by its name."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """The configuration, as plain data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Put the changes at the layers under ``name`` and use them; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, a target matches nothing, or
                a layer does not suit.
        """
        return put(backbone, self.makers(backbone), name, self.method, self.options(), self.place)

    def merge(self, backbone: Backbone) -> None:
        if not self.mergeable:
            super().merge(backbone)
        merge_grown(backbone)


def linear_layers(
    backbone: Backbone, targets: Targets, towers: Where, last: int | None, rank: int | None = None
) -> dict[str, nn.Linear]:
    """The linear layers of a backbone that these options mean, by name.

    Raises:
        UserError: a target matches nothing or is not linear, or the rank is far beyond the widths.
    """
    found = resolve(backbone, targets, towers, last)
    if rank is not None:
        check_rank(backbone, found, rank)
    base = [backbone.model.get_submodule(path) for path in _as_they_are(backbone, found)]
    return {path: linear(path, layer) for path, layer in zip(found, base, strict=True)}


def _as_they_are(backbone: Backbone, paths: Sequence[str]) -> list[str]:
    """The names that layers have now, with what has grown around them."""
    wanted = {f"{path}.weight": path for path in paths}
    now = {backbone.base_key(key): key for key, _ in backbone.model.named_parameters()}
    return [now[key].rpartition(".")[0] for key in wanted]
