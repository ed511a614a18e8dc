"""Full fine-tuning: the base weights themselves, of one tower or both."""

from __future__ import annotations

import re
from typing import Literal

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.names import refuse_wrapped
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._targets import in_last_blocks

__all__ = ["Full"]

#: What maps a tower's width to the joint one: of open_clip's towers, of ResNets and of timm's.
_PROJECTION = re.compile(
    r"(?:^|\.)(?:visual\.proj|text_projection|attnpool\.c_proj|visual\.head\.proj)(?:\.|$)"
)


class Full(Adapter):
    """Full fine-tuning: trains the base weights in place, with nothing beside them.

    There is no bare base to go back to: ``activate(backbone, None)`` is refused, `merge` has nothing to do.

    Args:
        towers: train one tower or both.
        last: only this many last blocks of each tower and what stands behind them (final layer norm,
            projection); 0: the projections into the joint space alone; default everything.
        embeddings: train the token embedding too. It is by far the largest tensor of a small model, and few
            of its rows occur in a stream: the others drift by weight decay alone.

    Example:
        >>> from clplat.models.backbone import Backbone
        >>> tower = {"layers": 2, "width": 32}
        >>> backbone = Backbone.random(
        ...     {
        ...         "embed_dim": 16,
        ...         "vision_cfg": {**tower, "image_size": 16, "patch_size": 8, "head_width": 16},
        ...         "text_cfg": {**tower, "context_length": 12, "heads": 2},
        ...     },
        ...     seed=0,
        ... )
        >>> Full(towers="text", last=1).attach(backbone)[-3:]
        ['model.transformer.resblocks.1.mlp.c_proj.bias', 'model.ln_final.weight', 'model.ln_final.bias']
    """

    trains_base = True
    #: It adds the same number to a query's scores with all keys, and the softmax takes that away again.
    without_effect = (r"\.k_proj\.bias$",)

    def __init__(
        self,
        towers: Literal["both", "image", "text"] = "both",
        last: int | None = None,
        embeddings: bool = False,
    ) -> None:
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        if last is not None and embeddings:
            raise ValueError("embeddings stand before all blocks: leave out 'last' to train them")
        self.towers = towers
        self.last = last
        self.embeddings = embeddings

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Set ``requires_grad`` on the base weights and return their names; ``name`` does not matter."""
        refuse_wrapped(backbone.model)
        if backbone.adapters.installed:
            raise UserError(f"'{backbone.adapters.active}' is attached: merge it before full fine-tuning")
        text = "text." if hasattr(backbone.model, "text") else "(?!visual|logit_)"
        image = r"visual\."
        tower = re.compile({"both": f"{image}|{text}", "image": image, "text": text}[self.towers])
        names = [key for key, _ in backbone.model.named_parameters() if tower.match(key)]
        if not self.embeddings:
            names = [key for key in names if not key.endswith("token_embedding.weight")]
        if backbone.model_cfg["vision_cfg"].get("pos_embed_type") == "sin_cos_2d":
            names.remove("visual.positional_embedding")  # fixed by design
        if self.last == 0:
            names = [key for key in names if _PROJECTION.search(key)]
            if not names:
                raise UserError("last is 0; these towers have no projection into a joint space")
        elif self.last is not None:
            names = in_last_blocks(names, self.last)
        for key in names:
            backbone.model.get_parameter(key).requires_grad_(True)
        return [f"model.{key}" for key in names]

    def activate(self, backbone: Backbone, name: str | None) -> None:
        """Do nothing: the trained weights are the base."""
        if name is None:
            raise UserError("full fine-tuning changes the base weights: there is no bare base to activate")

    def merge(self, backbone: Backbone) -> None:
        """Do nothing: there is nothing beside the base."""
