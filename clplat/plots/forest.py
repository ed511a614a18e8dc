"""Intervals and bars as small drawings inside table cells: sharp on any screen, and read out as words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from clplat.formats import number
from clplat.plots.styles import SHAPES, Style

__all__ = ["Axis", "axis_over", "head", "interval"]

_WIDE, _HIGH, _EDGE = 220, 22, 12


@dataclass(frozen=True)
class Axis:
    """A scale that all drawings of a column share.

    Args:
        low, high: what the column spans.
        ticks: round values between them.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The place of a value in the drawing, from the left."""
        return round(_EDGE + (_WIDE - 2 * _EDGE) * (value - self.low) / (self.high - self.low), 1)


def axis_over(values: Iterable[float | None], *also: float) -> Axis:
    """An axis with two to five round ticks over all known values and those of ``also``.

    Example:
        >>> axis_over([44.6, 52.1, None, 63.8]).ticks
        (45.0, 50.0, 55.0, 60.0)
    """
    from matplotlib.ticker import MaxNLocator

    known = [value for value in (*values, *also) if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 1, high + 1
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], min_n_ticks=1).tick_values(low, high)
    inside = (round(float(tick), 6) for tick in ticks if low - 1e-9 <= tick <= high + 1e-9)
    return Axis(low, high, tuple(inside))


def head(axis: Axis) -> Markup:
    """The ticks with their values, for the head of the column."""
    digits = 0 if all(tick == int(tick) for tick in axis.ticks) else 1
    marks = "".join(
        f'<text x="{axis.at(tick)}" y="14" text-anchor="middle">{number(tick, digits)}</text>'
        for tick in axis.ticks
    )
    words = f"scale from {number(axis.low)} to {number(axis.high)}"
    return _drawing(marks, words)


def interval(axis: Axis, reach: Sequence[float | None], style: Style, zero: bool = False) -> Markup:
    """A line from low to high, the method's marker at the mean; ``zero`` draws the line of no difference.

    Args:
        reach: low, mean, high.
    """
    low, mean, high = reach
    if mean is None:
        return Markup("")
    parts = [
        f'<line x1="{axis.at(tick)}" x2="{axis.at(tick)}" y1="0" y2="{_HIGH}" class="tick"/>'
        for tick in axis.ticks
    ]
    if zero:
        parts.append(f'<line x1="{axis.at(0)}" x2="{axis.at(0)}" y1="0" y2="{_HIGH}" class="zero"/>')
    middle, words = _HIGH / 2, number(mean)
    if low is not None and high is not None:
        left, right = axis.at(low), axis.at(high)
        parts.append(
            f'<path d="M{left} {middle}H{right}M{left} {middle - 4}v8M{right} {middle - 4}v8" '
            f'stroke="{style.colour}" stroke-width="1.8" fill="none"/>'
        )
        words += f", interval {number(low)} to {number(high)}"
    shape = SHAPES[style.marker]
    place = f'transform="translate({axis.at(mean)} {middle})" fill="{style.colour}" stroke="#fff"'
    parts.append(f'<polygon points="{shape}" {place}/>' if shape else f'<circle r="4.4" {place}/>')
    return _drawing("".join(parts), words)


def _drawing(inside: str, words: str) -> Markup:
    """An SVG with its words; ``inside`` is made of our own numbers only."""
    return Markup(
        f'<svg class="forest" viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{escape(words)}">'
        f"{inside}</svg>"
    )
