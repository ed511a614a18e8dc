"""``clplat shrink``: a smaller model out of a larger one."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from clplat.commands import at_least, command, option


@command(
    option("backbone BACKBONE", "name or folder of the larger model, as --backbone takes it"),
    option("--pretrained TAG", "tag or file of its weights"),
    option("--image-layers N", "blocks of the image tower (default: all)", type=at_least(1)),
    option("--image-width N", "width of the image tower (default: that of the larger)", type=at_least(1)),
    option("--text-layers N", "blocks of the text tower (default: all)", type=at_least(1)),
    option("--text-width N", "width of the text tower (default: that of the larger)", type=at_least(1)),
    option("--joint-width N", "width of the joint space (default: that of the larger)", type=at_least(1)),
    option(
        "--to FOLDER",
        "where the smaller model goes (default: %(default)s)",
        type=Path,
        default=Path("smaller"),
    ),
)
def shrink(options: Namespace) -> int:
    """a smaller model that begins with layers and channels of a larger one, to be distilled from it"""
    from clplat.mechanisms.inheritance import inherited, smaller_config
    from clplat.models.backbone import Backbone

    large = Backbone.load(options.backbone, options.pretrained)
    towers: dict[str, dict[str, Any]] = {
        tower: {key: getattr(options, f"{tower}_{key}") for key in ("layers", "width")}
        for tower in ("image", "text")
    }
    small = inherited(large, smaller_config(large, **towers, joint=options.joint_width))
    small.save(options.to)
    sizes = [sum(tensor.numel() for tensor in one.base_state().values()) for one in (small, large)]
    print(f"{sizes[0]:,} of {sizes[1]:,} weights ({sizes[0] / sizes[1]:.0%})")
    name = options.to if options.to.is_absolute() else f"./{options.to}"
    print(f"use it with: --recipe tinyclip --backbone {name} --strategy.teacher.model {options.backbone}")
    return 0
