"""The figure of a stream: final recall and that of the twin, forgetting, trained parameters; best first."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.files import write_atomically
from clplat.plots.canvas import INK, SOFT, panels
from clplat.plots.colours import domain_colour, strategy_colour

__all__ = ["draw", "save"]

_ROW, _DPI = 0.17, 110
_ROOM = 4.0  # points beside the outermost mean; longer intervals are cut


def draw(entry: Mapping[str, Any], path: Path) -> None:
    """Write the figure of an entry as a small PNG."""
    every = {row["system"]: row["score"] for row in entry["rows"] if "score" in row}
    rows = [row for row in entry["rows"] if row["system"] in every and row["kind"] != "twin"]
    rows.sort(key=lambda row: row["score"]["mean"])
    figure, axes = panels(3, 3.6, 1.2 + _ROW * len(rows))
    families = sorted({row["family"] for row in rows if row["family"]})
    colours = [_colour(row, families) for row in rows]
    forgets = [row["measures"]["forgetting"] for row in rows]
    trained = [(row["measures"]["trainable_parameters"] or {}).get("mean", 0.0) for row in rows]
    finals = [row["score"]["mean"] for row in rows]
    twins = [(every.get(row["against"]) or {"mean": None})["mean"] for row in rows]
    _rings(axes[0], twins)
    _dots(axes[0], finals, colours, [row["score"] for row in rows])
    shown = [value for value in (*finals, *twins) if value is not None]
    axes[0].set_xlim(min(shown) - _ROOM, max(shown) + _ROOM)
    _dots(axes[1], [None if one is None else one["mean"] for one in forgets], colours)
    _dots(axes[2], [value or None for value in trained], colours)
    axes[2].set_xscale("log")
    titles = (f"final {entry['primary']}; ring: its twin", "forgetting, points", "trained parameters")
    for one, title in zip(axes, titles, strict=True):
        one.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
        one.set_yticks(
            range(len(rows)), [row["system"] for row in rows] if one is axes[0] else [""] * len(rows)
        )
        one.set_ylim(-1, len(rows))
    for label, colour in zip(axes[0].get_yticklabels(), colours, strict=True):
        label.set(color=colour, fontsize=8)
    handles = [
        axes[0].plot([], [], "o", color=domain_colour(i, len(families)), label=name.replace("_", " "))[0]
        for i, name in enumerate(families)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG of few colours, small enough to be committed again and again."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    picture = (
        Image.open(buffer).convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda target: picture.save(target, format="PNG", optimize=True))


def _rings(axes: Any, values: Sequence[float | None]) -> None:
    known = [(value, place) for place, value in enumerate(values) if value is not None]
    xs, ys = [v for v, _ in known], [p for _, p in known]
    axes.scatter(xs, ys, facecolors="none", edgecolors=SOFT, s=26, lw=0.8, zorder=2)


def _dots(
    axes: Any,
    values: Sequence[float | None],
    colours: Sequence[str],
    spans: Sequence[Mapping[str, float]] = (),
) -> None:
    for place, span in enumerate(spans):
        axes.plot([span["low"], span["high"]], [place, place], color=colours[place], lw=1, alpha=0.5)
    known = [(value, place) for place, value in enumerate(values) if value is not None]
    axes.scatter(
        [v for v, _ in known], [p for _, p in known], c=[colours[p] for _, p in known], s=18, zorder=3
    )


def _colour(row: Mapping[str, Any], families: Sequence[str]) -> str:
    """Families have the colours of domains; references are grey and black, or those of their strategy."""
    if row["family"]:
        return domain_colour(families.index(row["family"]), len(families))
    return SOFT if row["kind"] == "twin" else strategy_colour(row["system"])
