"""The slots of an experiment: which parts there are, what fills a slot by default, and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clplat import registry
from clplat.config.options import Argument, arguments
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS

__all__ = [
    "GROUPS",
    "PLAIN",
    "DataConfig",
    "EvaluationConfig",
    "chosen_parts",
    "constructor_of",
    "options_of",
    "options_of_all",
    "unknown_option",
]


#: Groups of options with one fixed constructor each.
GROUPS = ("train", "data", "evaluation")
#: Options of no part.
PLAIN = {
    "seed": Argument("seed", int, 0, "of everything random in the experiment", False),
    "device": Argument("device", str, "cpu", "where the model lives: cpu, cuda, cuda:1, ...", False),
    "features": Argument(
        "features",
        Literal["fp32", "fp16", "off"],
        "fp32",
        "how what is frozen is kept on disk, to be computed once; off computes everything anew",
        False,
    ),
}


@dataclass(frozen=True)
class EvaluationConfig:
    """How every model version is measured.

    Args:
        split: the queries and galleries that fill R: ``test``, or ``val`` while tuning.
        batch_size: pictures or queries a forward pass.
        anchors: training pictures, at most, on which a projection between two versions is fitted.
    """

    split: Literal["test", "val"] = "test"
    batch_size: int = 256
    anchors: int = 1024

    def __post_init__(self) -> None:
        for name, value in (("batch_size", self.batch_size), ("anchors", self.anchors)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


@dataclass(frozen=True)
class DataConfig:
    """How pictures and texts are prepared, whatever the scenario.

    Args:
        preprocess: picture preparation; ``targetpad`` pads long pictures first (CLIP4Cir).
        long_texts: texts longer than the tokenizer's context are refused, or cut and reported.
        augment: random views of training pictures.
        views: so many random views of each picture, computed once where frozen; 0 draws anew every time.
    """

    preprocess: Literal["clip", "targetpad"] = "clip"
    long_texts: Literal["refuse", "cut"] = "refuse"
    augment: Literal["none", "flip", "crop", "crop_flip"] = "none"
    views: int = 0

    def __post_init__(self) -> None:
        if self.views < 0:
            raise ValueError(f"views must be at least 0, not {self.views}")


def constructor_of(slot: str, name: str = "") -> Callable[..., Any] | None:
    """What makes the part ``name`` of a slot, or a group's dataclass; None for an empty slot."""
    if slot == "train":
        from clplat.training.settings import TrainConfig

        return TrainConfig
    if slot in GROUPS:
        return DataConfig if slot == "data" else EvaluationConfig
    if slot == "backbone":
        from clplat.models.backbone import Backbone

        return Backbone.load
    kind = KINDS[slot]
    if kind.optional and name == "none":
        return None
    found: Callable[..., Any] = registry.load(kind.plural, name)
    return found


def chosen_parts(raw: Mapping[str, Any]) -> dict[str, str]:
    """Slot -> name of the part that a raw configuration puts there."""
    chosen = {slot: str(raw.get(slot, {}).get("name", entry.default)) for slot, entry in KINDS.items()}
    strategy = registry.load("strategies", chosen["strategy"])
    for slot in getattr(strategy, "brings", ()):
        if "name" not in raw.get(slot, {}):
            chosen[slot] = "none"
    return chosen


def options_of(slot: str, name: str = "") -> dict[str, Argument]:
    """The options ``<slot>.<argument>`` of one part or group."""
    constructor = constructor_of(slot, name)
    found = arguments(constructor) if constructor is not None else ()
    return {f"{slot}.{a.name}": a for a in found if (slot, a.name) != ("backbone", "name")}


def options_of_all(chosen: Mapping[str, str]) -> dict[str, Argument]:
    """All options that exist with these parts, beside the parts' names."""
    found: dict[str, Argument] = {}
    for slot, name in [*chosen.items(), *((group, "") for group in GROUPS)]:
        found |= options_of(slot, name)
    return found | PLAIN


def unknown_option(key: str, chosen: Mapping[str, str]) -> UserError:
    """The error for an option that does not exist; it offers the nearest in its slot, or in all slots."""
    slot, _, name = key.partition(".")
    if slot in (*KINDS, *GROUPS):
        siblings = [option.name for option in options_of(slot, chosen.get(slot, "")).values()]
        near = nearest(name, siblings).replace("'", f"'{slot}.", 1)
        of = f" of {slot} '{chosen[slot]}'" if slot in KINDS else ""
        return UserError(f"unknown option '{key}'{of}{near} (allowed: {', '.join(siblings) or 'none'})")
    top, options = [*KINDS, *GROUPS, *PLAIN], options_of_all(chosen)
    same = [option for option in options if option.partition(".")[2] == (name or slot)]
    near = f"; did you mean '{same[0]}'?" if same else nearest(key, [*top, *options])
    return UserError(f"unknown option '{key}'{near} (allowed: {', '.join(top)}, and their options)")
