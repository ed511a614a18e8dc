"""Which modules an adapter wraps: exact names, resolved here, because PEFT's own matching is silent.

PEFT matches by the end of a name, and CLIP's text modules (``transformer.resblocks...``) are the ends of the
image modules (``visual.transformer.resblocks...``): a list that means the text tower wraps both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from torch import nn

from clplat.errors import UserError, nearest
from clplat.models.backbone import Backbone
from clplat.models.names import refuse_wrapped

__all__ = ["Kind", "Towers", "check_rank", "in_last_blocks", "pattern", "resolve", "tower_of", "wrappable"]

Kind = Literal["mlp", "attention", "both"]
Towers = Literal["both", "image", "text"]

# Ends of names inside a block: those of open_clip's own towers (attention split), then those of timm's.
_KINDS: dict[str, tuple[str, ...]] = {
    "mlp": ("mlp.c_fc", "mlp.c_proj", "mlp.fc1", "mlp.fc2"),
    "attention": ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "attn.qkv", "attn.proj"),
    "norm": ("ln_1", "ln_2", "norm1", "norm2"),
}
_KINDS["both"] = _KINDS["attention"] + _KINDS["mlp"]
_OUTER_NORMS = ("ln_pre", "ln_post", "ln_final")
# What stands behind the blocks belongs to the last ones.
_BEHIND = re.compile(r"(?:^|\.)(?:ln_post|ln_final|proj|text_projection|head)(?:\.|$)")
_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks)\.(\d+)\.")


def resolve(backbone: Backbone, targets: str | Sequence[str], towers: Towers, last: int | None) -> list[str]:
    """Return the full names of the modules to wrap, all of them alive.

    Args:
        targets: a kind (``"mlp"``, ``"attention"``, ``"both"``, ``"norm"``), or names of modules, in full or
            the last parts of them (``"c_fc"``, ``"mlp.c_fc"``).
        towers: restrict to one tower; last: restrict to this many last blocks of each tower.

    Raises:
        UserError: a target matches nothing, or a module whose forward is never called.
    """
    refuse_wrapped(backbone.model)
    names = [name for name in wrappable(backbone) if towers == "both" or tower_of(name) == towers]
    if last is not None:
        names = in_last_blocks(names, last)
    if isinstance(targets, str):
        if targets not in _KINDS:
            raise UserError(
                f"targets is '{targets}'; allowed: mlp, attention, both, or a list of module names"
            )
        ends = _KINDS[targets]
        found = [name for name in names if _BLOCK.search(name) and _ends(name, ends)]
        if targets == "norm":
            found += [name for name in names if not _BLOCK.search(name) and _ends(name, _OUTER_NORMS)]
        if not found:
            raise UserError(
                f"backbone '{backbone.name}' has no '{targets}' modules in {_where(towers, last)}; "
                f"give a list of module names, such as {', '.join(names[-3:])}"
            )
        return found
    found = []
    for target in targets:
        # In full it is one module: the text tower's names are the ends of the image tower's.
        matches = [target] if target in names else [name for name in names if _ends(name, (target,))]
        if not matches:
            allowed = sorted({name.rpartition(".")[2] for name in names if not name[-1].isdigit()})
            raise UserError(
                f"target '{target}' matches no module in {_where(towers, last)}{nearest(target, allowed)} "
                f"(names end in: {', '.join(allowed)})"
            )
        found += [name for name in matches if name not in found]
    for name in found:
        _check_alive(backbone, name)
    return found


def pattern(names: Sequence[str]) -> str:
    """A regular expression that PEFT matches in full: these names and no others."""
    return "|".join(re.escape(name) for name in names)


def wrappable(backbone: Backbone) -> list[str]:
    """Names of all modules that own base weights, whatever adapters have been put around them.

    In the model's order: fingerprints hold these names, and a set has another order in every process.
    """
    return list(dict.fromkeys(key.rpartition(".")[0] for key in backbone.base_state() if "." in key))


def tower_of(name: str) -> str:
    """The tower that a module belongs to, by its name."""
    return "image" if name.startswith("visual.") else "text"


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _where(towers: Towers, last: int | None) -> str:
    tower = "both towers" if towers == "both" else f"the {towers} tower"
    return tower if last is None else f"the last {last} blocks of {tower}"


def in_last_blocks(names: Sequence[str], last: int) -> list[str]:
    """Those of ``names`` in the last blocks of their tower, or behind all blocks.

    Raises:
        UserError: no tower has this many blocks (a shallower tower gives all of its own).
    """
    depth = {"image": 0, "text": 0}
    for name in names:
        depth[tower_of(name)] = max(depth[tower_of(name)], _index(name) + 1)
    if not 1 <= last <= max(depth.values()):
        raise UserError(f"last is {last}; the towers have {max(depth.values())} blocks")

    return [
        name
        for name in names
        if _index(name) >= max(depth[tower_of(name)] - last, 0) or (_index(name) < 0 and _BEHIND.search(name))
    ]


def _index(name: str) -> int:
    found = _BLOCK.search(name)
    return int(found.group(1)) if found else -1


def check_rank(backbone: Backbone, targets: Sequence[str], rank: object) -> None:
    """Refuse a rank far beyond the layers' widths: it trains nothing more, for minutes and all memory.

    Raises:
        UserError: it is more than four times the width of the widest target.
    """
    base = backbone.base_state()
    weights = [base[f"{target}.weight"] for target in targets if f"{target}.weight" in base]
    widest = max((max(weight.shape) for weight in weights), default=0)
    if isinstance(rank, int) and widest and rank > 4 * widest:
        raise UserError(
            f"adapter.r is {rank}, and the widest layer that it is put on has {widest} units; take at most "
            f"{4 * widest}"
        )


def _check_alive(backbone: Backbone, name: str) -> None:
    """Refuse modules whose weights are read by their parent, so that a wrapper would never be called."""
    parent = backbone.model.get_submodule(name.rpartition(".")[0]) if "." in name else backbone.model
    if isinstance(parent, nn.MultiheadAttention) or type(parent).__name__ == "AttentionPool2d":
        raise UserError(
            f"target '{name}' is never called: {type(parent).__name__} reads its weight itself, so an "
            "adapter there would be ignored"
        )
