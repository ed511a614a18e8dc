"""Figures draw from any shape of result; what they distinguish is checked on the drawn objects."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from clplat.plots.colours import STRATEGY_COLOURS, domain_colour, strategy_colour
from clplat.plots.curves import domain_curves, stream_curves
from clplat.plots.heatmaps import accuracy_heatmap, compatibility_heatmap
from clplat.plots.points import Point, draw_points
from clplat.plots.styles import Style, styles_of

Make = Callable[..., dict[str, Any]]


def png(figure: Any) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=40)
    return target.getvalue()


def by_name(*names: str) -> dict[str, Style]:
    return styles_of({"label": name, "strategy": name} for name in names)


@pytest.mark.parametrize(("count", "rows"), [(1, 2), (1, 1), (4, 3), (12, 13)])
def test_any_shape_draws(make_result: Make, count: int, rows: int) -> None:
    names = [f"a domain with a long name {i}" for i in range(count)]
    result = make_result("replay", domains=names, rows=rows)
    values = result["metrics"]["R@5"]
    versions = ["zero-shot", *names][:rows]
    for figure in (
        accuracy_heatmap(values, names, title="replay"),
        domain_curves(values, names, title="replay"),
        compatibility_heatmap(result["compatibility"]["R@5"], versions),
    ):
        assert png(figure).startswith(b"\x89PNG")


def test_holes_and_constants_draw() -> None:
    assert png(accuracy_heatmap([[None, 50.0], [50.0, None]], ["a", "b"]))
    assert png(domain_curves([[None, 50.0], [50.0, None]], ["a", "b"]))
    assert png(accuracy_heatmap([[None]], ["a"]))


def test_zero_shot_and_future_cells_are_told_apart(make_result: Make) -> None:
    result = make_result("replay")
    axes = accuracy_heatmap(result["metrics"]["R@5"], result["domains"]).axes[0]
    cells = [patch for patch in axes.patches if patch.get_fill()]
    frames = [patch for patch in axes.patches if not patch.get_fill()]
    assert len(cells) == 20
    assert sum(cell.get_hatch() is not None for cell in cells) == 4 + 3 + 2 + 1
    assert len(frames) == 4
    tops = sorted({cell.get_y() for cell in cells})
    assert tops[1] - tops[0] > 1.2 * (tops[2] - tops[1])  # the zero-shot row stands apart


def test_compatible_cells_are_framed() -> None:
    axes = compatibility_heatmap([[10.0, None], [12.0, 20.0]], ["zero-shot", "a"]).axes[0]
    assert sum(not patch.get_fill() for patch in axes.patches) == 1
    axes = compatibility_heatmap([[10.0, None], [10.0, 20.0]], ["zero-shot", "a"]).axes[0]
    assert sum(not patch.get_fill() for patch in axes.patches) == 0  # equal is not better


def test_strategies_have_their_colours() -> None:
    series = {"replay": [[40.0, 50.0], [41.0, 52.0]], "ewc": [[40.0]], "empty": []}
    figure, ends = stream_curves(series, ["a"], by_name(*series), "R@5", "") or (None, [])
    assert figure is not None and [name for *_, name, _ in ends] == ["replay", "ewc"]
    lines = figure.axes[0].lines
    assert [line.get_color() for line in lines] == [STRATEGY_COLOURS["replay"], STRATEGY_COLOURS["ewc"]]
    assert list(lines[0].get_ydata()) == [40.5, 51.0]
    assert png(figure)
    points = [Point(name, 2.0, 60.0, style) for name, style in by_name("replay", "ewc").items()]
    assert png(draw_points(points, "", "forgetting", "R@5"))


def test_end_labels_do_not_overlap() -> None:
    series = {f"strategy {i}": [[40.0, 50.0 + 0.01 * i]] for i in range(6)}
    figure, _ = stream_curves(series, ["a"], by_name(*series), "R@5", "") or (None, [])
    assert figure is not None
    axes = figure.axes[0]
    heights = sorted(text.xyann[1] for text in axes.texts if hasattr(text, "xyann"))
    low, high = axes.get_ylim()
    assert all(b - a > 0.04 * (high - low) for a, b in itertools.pairwise(heights))


def test_colours_are_fixed_distinct_and_stable() -> None:
    assert len(set(STRATEGY_COLOURS.values())) == len(STRATEGY_COLOURS) == 10
    assert strategy_colour("my_own") == strategy_colour("my_own")
    assert strategy_colour("my_own") not in STRATEGY_COLOURS.values()
    for count in (3, 8, 20):
        colours = [domain_colour(index, count) for index in range(count)]
        assert len(set(colours)) == count
        assert all(len(colour) == 7 for colour in colours)
