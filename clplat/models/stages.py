"""The parts of a tower in the order in which they work, and what stands around and beside them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from clplat.models.towers import blocks_of

__all__ = ["Tower", "around", "stages", "strays"]

Tower: TypeAlias = Literal["image", "text"]
_LAST = ("ln_post", "proj", "ln_final", "text_projection")


def stages(backbone: Any, tower: Tower, bare: bool = False) -> list[list[tuple[str, nn.Module | Tensor]]]:
    """The named parts of a tower of an `Encoders`: entry, each block, exit.

    An opaque tower is one stage. A prompt belongs to the entry, or to the lowest block that sees it, unless
    the tower is looked at ``bare``.
    """
    top = _top(backbone, tower)
    parts = {name: part for name, part in top.named_parameters(recurse=False)}
    parts |= dict(top.named_buffers(recurse=False)) | dict(top.named_children())
    for name in ("visual", "logit_scale", "logit_bias") if top is backbone.model else ():
        parts.pop(name, None)
    prompt = backbone.image_prompt if tower == "image" else backbone.text_prompt
    prompted = prompt is not None and not bare
    if prompted and (_is_opaque(backbone, tower) or not prompt.lowest):
        parts["prompt"] = prompt
    if _is_opaque(backbone, tower):
        return [list(parts.items())]
    blocks = [[(f"block {i}", block)] for i, block in enumerate(blocks_of(parts.pop("transformer")))]
    if prompted and prompt.lowest:
        blocks[prompt.lowest].append(("prompt", prompt))
    return [
        [(name, part) for name, part in parts.items() if name not in _LAST],
        *blocks,
        [(name, part) for name, part in parts.items() if name in _LAST],
    ]


def around(backbone: Any, tower: Tower) -> list[tuple[str, nn.Module]]:
    """The modules that hold what `stages` gives, by name: the backbone, the model, the tower, ..."""
    top = _top(backbone, tower)
    transformer = getattr(top, "transformer", None)
    found = {"backbone": backbone, "model": backbone.model, f"the {tower} tower": top}
    return [*found.items(), *([("transformer", transformer)] if isinstance(transformer, nn.Module) else [])]


def strays(backbone: Any, tower: Tower) -> list[str]:
    """Modules beside the blocks of a transformer, which are part of no stage, in words."""
    if _is_opaque(backbone, tower):
        return []
    transformer = _top(backbone, tower).transformer
    names = dict(transformer.named_children()) | dict(transformer.named_parameters(recurse=False))
    return [f"transformer.{name} is beside the blocks" for name in names if name != "resblocks"]


def _top(backbone: Any, tower: Tower) -> Any:
    model = backbone.model
    return model.visual if tower == "image" else getattr(model, "text", model)


def _is_opaque(backbone: Any, tower: Tower) -> bool:
    return (backbone.image_layers if tower == "image" else backbone.text_layers) is None
