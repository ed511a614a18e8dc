"""How a measure is named and written for people: "forgetting", "2.4 TFLOP", "−9.2"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clplat.measures import MEASURES

__all__ = ["COSTS", "Shown", "axis_title", "lower_is_better", "number", "setting", "shown", "signed", "text"]

COSTS = (
    "training_flops", "trainable_parameters", "seconds", "exemplar_bytes", "bytes_per_item", "backfill",
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """A measure as people read it.

    Args:
        title: short name, for the head of a column.
        unit: ``percent``, ``points``, ``share``, ``count``, ``flops``, ``bytes``, ``seconds`` or ``number``.
    """

    title: str
    unit: str


_SHOWN = {
    "final": Shown("final", "percent"),
    "seen": Shown("domains seen", "percent"),
    "plasticity": Shown("plasticity", "percent"),
    "stability": Shown("stability", "percent"),
    "forgetting": Shown("forgetting", "points"),
    "bwt": Shown("BWT", "points"),
    "fwt": Shown("FWT", "points"),
    "zero_shot": Shown("zero-shot kept", "percent"),
    "AC": Shown("AC", "share"),
    "update_gain": Shown("update gain", "share"),
    "backfill": Shown("backfill", "percent"),
    "trainable_parameters": Shown("trained parameters", "count"),
    "training_flops": Shown("training compute", "flops"),
    "exemplar_bytes": Shown("exemplars", "bytes"),
    "bytes_per_item": Shown("stored vector", "bytes"),
    "seconds": Shown("time", "seconds"),
}
_STEPS = {
    "count": (("", 1.0), ("M", 1e6), ("G", 1e9)),
    "bytes": (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)),
    "flops": (
        ("FLOP", 1.0),
        ("MFLOP", 1e6),
        ("GFLOP", 1e9),
        ("TFLOP", 1e12),
        ("PFLOP", 1e15),
        ("EFLOP", 1e18),
    ),
    "seconds": (("s", 1.0), ("min", 60.0), ("h", 3600.0)),
}
_AXES = {"percent": "%", "points": "points", "seconds": "s"}
_SCALES = {"count": ("millions", 1e6), "bytes": ("MB", 1e6), "flops": ("TFLOP", 1e12)}


def shown(name: str) -> Shown:
    """Title and unit of a measure; metrics such as ``R@5`` are percentages, unknown names plain numbers."""
    if name in _SHOWN:
        return _SHOWN[name]
    return Shown(name, "percent" if re.fullmatch(r"(R|mAP)@\d+|MRR", name) else "number")


def lower_is_better(name: str) -> bool:
    """Whether less of a measure is better.

    Example:
        >>> lower_is_better("forgetting"), lower_is_better("R@5")
        (True, False)
    """
    return name in MEASURES and MEASURES[name].better == "lower"


def number(value: float | None, digits: int = 1) -> str:
    """Fixed digits with a true minus sign; a dash where there is nothing, no "−0.0"."""
    if value is None:
        return "–"
    written = f"{value:.{digits}f}"
    return written.lstrip("-") if float(written) == 0 else written.replace("-", "−")


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    return f"+{number(value)}" if value is not None and round(value, 1) > 0 else number(value)


def text(name: str, value: float | None) -> str:
    """A value of the measure ``name`` with its unit, where the head of the column does not give it.

    Example:
        >>> text("final", 49.84), text("AC", 0.667), text("training_flops", 2386904232960)
        ('49.8', '0.67', '2.4 TFLOP')
    """
    unit = shown(name).unit
    if value is None:
        return "–"
    if unit in _STEPS:
        word, step = [entry for entry in _STEPS[unit] if abs(value) >= entry[1] or entry[1] == 1.0][-1]
        if unit == "count" and step == 1.0:
            return f"{value:,.0f}"
        return f"{number(value / step, 0 if step == 1.0 else 1)} {word}"
    if unit == "number":
        return setting(value)
    return number(value, 2 if unit == "share" else 1)


def setting(value: object) -> str:
    """A value of an option: short, and readable for a learning rate too."""
    if isinstance(value, float):
        return f"{value:.3g}".replace("e-0", "e-").replace("-", "−")
    return "–" if value is None else str(value)


def axis_title(name: str, primary: str) -> tuple[str, float]:
    """The label of an axis with its unit, and what values are divided by to be in it."""
    entry = shown(name)
    title = f"final {primary}" if name == "final" else entry.title
    word, scale = _SCALES.get(entry.unit, (_AXES.get(entry.unit, ""), 1.0))
    return (f"{title} ({word})" if word else title), scale
