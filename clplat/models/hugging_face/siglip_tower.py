"""SigLIP's image tower as a model of timm, of any size, by a name that says all of it.

timm's own SigLIP towers have fixed sizes and the exact GELU, where the published weights were trained with
its approximation. open_clip asks timm for a tower by name, so that each is made known before it is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from clplat.errors import UserError

__all__ = ["make_known", "tower_name"]

_NAME = (
    "clplat_siglip_w{hidden_size}_m{intermediate_size}_d{num_hidden_layers}_h{num_attention_heads}"
    "_p{patch_size}_i{image_size}_e{epsilon}_{act}"
)
_PARTS = re.compile(r"clplat_siglip_w(\d+)_m(\d+)_d(\d+)_h(\d+)_p(\d+)_i(\d+)_e(\d+)_(gelu|tanh)")
_ACTS = {"gelu": "gelu", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def tower_name(vision: Mapping[str, Any]) -> str:
    """The name of the tower that a ``vision_config`` of transformers describes.

    Raises:
        UserError: an activation that timm does not have, or an epsilon that is no power of ten.
    """
    epsilon = f"{vision['layer_norm_eps']:.0e}"
    if vision["hidden_act"] not in _ACTS or not epsilon.startswith("1e-"):
        said = f"hidden_act '{vision['hidden_act']}' with layer_norm_eps {vision['layer_norm_eps']}"
        raise UserError(f"an image tower with {said} (allowed: {', '.join(_ACTS)} with a power of ten)")
    return _NAME.format(**vision, epsilon=int(epsilon[3:]), act=_ACTS[vision["hidden_act"]])


def make_known(name: str) -> None:
    """Let timm build the tower of this name; other names are none of ours."""
    found = _PARTS.fullmatch(name)
    if found is None:
        return
    from timm.models import is_model, register_model

    if is_model(name):
        return
    *sizes, act = found.groups()
    width, hidden, depth, heads, patch, size, epsilon = map(int, sizes)

    def make(**_: Any) -> nn.Module:  # open_clip asks for this pooling and no classes
        from timm.models.vision_transformer import VisionTransformer

        tower: nn.Module = VisionTransformer(
            img_size=size,
            patch_size=patch,
            num_classes=0,
            global_pool="map",
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            mlp_ratio=(hidden + 0.5) / width,  # the product is cut
            class_token=False,
            norm_layer=partial(nn.LayerNorm, eps=10.0**-epsilon),
            act_layer=partial(nn.GELU, approximate="tanh" if act == "tanh" else "none"),
        )
        return tower

    make.__name__ = name
    register_model(make)
