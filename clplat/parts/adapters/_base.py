"""The contract of an adapter: a change of the backbone's weights that names what it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.parameter_groups import Group
from clplat.models.backbone import Backbone

__all__ = ["Adapter"]


class Adapter:
    """Installs trainable weights in a backbone; the identity at initialisation, unless it says otherwise.

    The constructor is the configuration. Before `attach` the whole backbone is frozen; `attach` sets
    ``requires_grad`` on exactly what the adapter trains. Initial values are drawn from torch's generator,
    which the caller seeds and restores around the call.
    """

    #: Attaching rewrites base weights (PiSSA, OLoRA, ...): a second one on the same base is refused.
    rewrites_base: ClassVar[bool] = False
    #: The trained tensors are base weights: there is no bare base to go back to.
    trains_base: ClassVar[bool] = False
    #: `merge` folds it into the base weights; False: it cannot, and `merge` raises a `UserError`.
    mergeable: ClassVar[bool] = True
    #: Embeddings are the same before and after `attach`.
    identity_at_init: ClassVar[bool] = True
    #: Regular expressions of the names of trained tensors that, with default options, change no output: their
    #: gradient is zero. Computed, it is a rounding error, exactly zero on one processor and not on another.
    without_effect: ClassVar[tuple[str, ...]] = ()
    #: Options with which its idea is gone and its weights are plainly trained, for comparisons; a text is the
    #: value of the option of that name.
    plain: ClassVar[Mapping[str, Any]] = {}

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the adapter under ``name`` and make it the active one; return the names that it trains."""
        raise NotImplementedError

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        """Trained tensors with a learning rate or weight decay of their own, out of all that a run trains.

        Args:
            names: as in ``model.named_parameters()`` of the retriever, ``backbone.`` first.
        """
        return ()

    def activate(self, backbone: Backbone, name: str | None) -> None:
        """Use the adapter ``name`` (``None``: the bare base) in forward passes; gradient flags stay.

        Raises:
            UserError: no adapter of this name is attached.
        """
        backbone.adapters.switch(name)

    def merge(self, backbone: Backbone) -> None:
        """Fold the active adapter into the base weights; afterwards the backbone has its stock layers.

        Raises:
            UserError: it is not `mergeable`.
        """
        if self.mergeable:
            raise NotImplementedError
        raise UserError(f"{type(self).__name__} cannot be merged: the base weights have no place for it")

    def deltas(self, backbone: Backbone) -> dict[str, Tensor]:
        """What the active adapter adds to the base weights, by the names that these have without it.

        Weights are interpolated and summed at this level: factors of a product are no place for it. An
        adapter that trains the base itself adds nothing to it.
        """
        return backbone.adapters.deltas(backbone.model)

    def absorb(self, backbone: Backbone, deltas: Mapping[str, Tensor]) -> None:
        """Add these tensors, named as in `deltas`, to the weights that the backbone computes with.

        They go into the base; the adapter stays as it is, attached and trainable.

        Raises:
            UserError: what the adapter makes of a layer depends on its base weights.
        """
        backbone.adapters.absorb(backbone.model, deltas)
