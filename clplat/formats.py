"""How numbers are written for people: "49.8", "2.4 TFLOP", "−9.2"."""

from __future__ import annotations

from clplat.measures import describe

__all__ = ["axis_title", "number", "setting", "signed", "text"]

_STEPS = {
    "count": (("", 1.0), ("M", 1e6), ("G", 1e9)),
    "bytes": (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)),
    "flops": (("FLOP", 1.0), *((f"{letter}FLOP", 1000.0**k) for k, letter in enumerate("MGTPE", start=2))),
    "seconds": (("s", 1.0), ("min", 60.0), ("h", 3600.0)),
}
# unit -> what an axis calls it, and what values are divided by
_AXES = {
    "percent": ("%", 1.0),
    "points": ("points", 1.0),
    "seconds": ("s", 1.0),
    "count": ("millions", 1e6),
    "bytes": ("MB", 1e6),
    "flops": ("TFLOP", 1e12),
}


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
    unit = describe(name).unit
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
    entry = describe(name)
    title = f"final {primary}" if name == "final" else entry.title
    word, scale = _AXES.get(entry.unit, ("", 1.0))
    return (f"{title} ({word})" if word else title), scale
