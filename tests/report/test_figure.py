"""The figure that a sweep asks for: every kind, on the drawn objects, and clear refusals."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.report import draw as draw_with_words
from clplat.report import save_figure

Outcome = dict[str, Any]
Make = Callable[..., Outcome]
SIZES = (5, 20, 50, 200)


def png(figure: Any) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=40)
    return target.getvalue()


def draw(outcome: Outcome, out: Path) -> Any | None:
    drawing = draw_with_words(outcome, out)
    return None if drawing is None else drawing[0]


def words(figure: Any) -> str:
    from matplotlib.text import Text

    png(figure)
    return " | ".join(text.get_text() for text in figure.findobj(Text) if text.get_text())


@pytest.fixture(scope="module")
def sizes(make_sweep: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """Replay with four sizes, and rows that have none."""
    out = tmp_path_factory.mktemp("sizes")
    methods = [("replay", "tuned")] * 4 + [
        ("naive", "tuned"),
        ("frozen", "control"),
        ("cumulative", "control"),
    ]
    outcome = make_sweep(
        out, methods, settings={k: {"strategy.size": size} for k, size in enumerate(SIZES)},
        names={k: f"replay {size}" for k, size in enumerate(SIZES)}, trials=0,
    )  # fmt: skip
    return outcome, out


def test_a_curve_over_an_option(sizes: tuple[Outcome, Path]) -> None:
    outcome, out = sizes
    asked = {
        "kind": "curve",
        "x": "strategy.size",
        "y": ["final", "forgetting"],
        "log": True,
        "title": "How many?",
    }
    figure = draw(outcome | {"figure": asked}, out)
    assert figure is not None
    left, right = figure.axes
    assert left.get_xscale() == "log" and left.get_xlabel() == "strategy.size"
    assert (left.get_ylabel(), right.get_ylabel()) == ("final R@5 (%)", "forgetting (points)")
    (line,) = left.containers  # one line: the rows differ in the size alone
    assert list(line.lines[0].get_xdata()) == list(SIZES)
    by_size = {row["settings"].get("strategy.size"): row["score"] for row in outcome["rows"]}
    assert list(line.lines[0].get_ydata()) == pytest.approx([by_size[size]["mean"] for size in SIZES])
    ends = [segment[:, 1] for segment in line.lines[2][0].get_segments()]
    assert [end[0] for end in ends] == pytest.approx([by_size[size]["low"] for size in SIZES])
    assert [end[1] for end in ends] == pytest.approx([by_size[size]["high"] for size in SIZES])
    said = words(figure)
    assert all(name in said for name in ("naive (tuned)", "frozen", "cumulative", "How many?"))


def test_a_size_of_nothing_has_a_place_on_a_logarithmic_axis(make_sweep: Make, tmp_path: Path) -> None:
    settings = {k: {"strategy.size": size} for k, size in enumerate((0, 10, 100))}
    outcome = make_sweep(
        tmp_path, [("replay", "default")] * 3, settings=settings, trials=0,
        names={k: f"replay {k}" for k in range(3)},
        figure={"kind": "curve", "x": "strategy.size", "y": "final", "log": True},
    )  # fmt: skip
    figure = draw(outcome, tmp_path)
    assert figure is not None and figure.axes[0].get_xscale() == "symlog"
    assert png(figure)


def test_a_curve_over_what_the_configuration_says(sizes: tuple[Outcome, Path]) -> None:
    outcome, out = sizes
    figure = draw(outcome | {"figure": {"kind": "curve", "x": "train.epochs", "y": "final"}}, out)
    assert figure is not None
    assert {x for bars in figure.axes[0].containers for x in bars.lines[0].get_xdata()} == {2.0}


def test_a_scatter_names_its_points(sizes: tuple[Outcome, Path]) -> None:
    outcome, out = sizes
    figure = draw(outcome | {"figure": {"kind": "scatter", "x": "plasticity", "y": "final"}}, out)
    assert figure is not None
    assert all(row["label"] in words(figure) for row in outcome["rows"])
    spots = {
        (bars.lines[0].get_xdata()[0], bars.lines[0].get_ydata()[0]) for bars in figure.axes[0].containers
    }
    assert spots == {(row["measures"]["plasticity"]["mean"], row["score"]["mean"]) for row in outcome["rows"]}


def test_points_on_one_spot_get_a_legend(make_sweep: Make, tmp_path: Path) -> None:
    names = {k: f"a method with a long name and the number {k}" for k in range(12)}
    outcome = make_sweep(tmp_path, [("replay", "default")] * 12, names=names, seeds=(0,), trials=0)
    figure = draw(outcome | {"figure": {"kind": "scatter", "x": "plasticity", "y": "AC"}}, tmp_path)
    assert figure is not None
    legend = figure.axes[0].get_legend()
    assert len({text.get_text() for text in legend.get_texts()}) == 12  # shortened, still told apart


def test_lines_over_groups(make_sweep: Make, tmp_path: Path) -> None:
    groups = ("3 domains", "6 domains", "12 domains")
    outcome = make_sweep(tmp_path, (("replay", "default"), ("naive", "default")), groups=groups, trials=0)
    figure = draw(outcome | {"figure": {"kind": "lines", "y": "final"}}, tmp_path)
    assert figure is not None
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(groups)
    assert len(axes.containers) == 2
    means = [row["score"]["mean"] for row in outcome["rows"] if row["label"] == "naive (default)"]
    drawn = [list(bars.lines[0].get_ydata()) for bars in axes.containers]
    assert means in drawn


def test_a_heat_map_frames_the_best_contender_by_name_of_domain(make_sweep: Make, tmp_path: Path) -> None:
    orders = (["a", "b", "c"], ["c", "a", "b"])
    methods = (("replay", "default"), ("naive", "default"), ("cumulative", "control"))
    outcome = make_sweep(tmp_path, methods, seeds=(0, 1), orders=orders, trials=0, figure={"kind": "heatmap"})
    figure = draw(outcome, tmp_path)
    assert figure is not None
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "c"]
    texts = [text.get_text() for text in axes.texts]
    for row in outcome["rows"]:
        results = [json.loads((tmp_path / folder / "result.json").read_text()) for folder in row["folders"]]
        for name in "abc":
            values = [r["metrics"]["R@5"][-1][r["domains"].index(name)] for r in results]
            assert f"{sum(values) / 2:.1f}" in texts
    frames = [patch for patch in axes.patches if not patch.get_fill()]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(frames) == 3  # one per column, none of them the bound
    assert "cumulative" not in {labels[int(frame.get_y())] for frame in frames}


def test_bars(sizes: tuple[Outcome, Path]) -> None:
    outcome, out = sizes
    figure = draw(outcome | {"figure": {"kind": "bars", "y": ["final", "update_gain", "bwt"]}}, out)
    assert figure is not None
    final, gain, bwt = figure.axes
    widths = [patch.get_width() for patch in final.patches]
    assert widths == pytest.approx([row["score"]["mean"] for row in outcome["rows"]])
    assert [bool(patch.get_hatch()) for patch in final.patches] == [
        r["kind"] == "control" for r in outcome["rows"]
    ]
    assert not gain.patches and len(gain.texts) == len(outcome["rows"])  # undefined, and said so
    assert min(patch.get_width() for patch in bwt.patches) < 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "curv", "x": "a", "y": "final"}, "unknown kind of figure 'curv'; did you mean 'curve'"),
        ({}, "unknown kind of figure 'None'"),
        ({"kind": "bars", "y": "forgeting"}, "figure's y 'forgeting'; did you mean 'forgetting'"),
        ({"kind": "scatter", "x": "final", "y": "no"}, "unknown measure in the figure's y 'no'"),
        ({"kind": "curve", "x": "a.b", "y": "final"}, "'a.b' is no number .* differ: strategy.size"),
    ],
)  # fmt: skip
def test_refusals_name_what_is_allowed(sizes: tuple[Outcome, Path], asked: Outcome, said: str) -> None:
    outcome, out = sizes
    with pytest.raises(UserError, match=said):
        draw(outcome | {"figure": asked}, out)


def test_the_figure_on_disk(sizes: tuple[Outcome, Path]) -> None:
    outcome, out = sizes
    assert save_figure(out) is None and not (out / "figure.png").exists()
    (out / "sweep.json").write_text(json.dumps(outcome | {"figure": {"kind": "bars", "y": "final"}}))
    path = save_figure(out)
    assert path == out / "figure.png" and path.read_bytes().startswith(b"\x89PNG")
    first = path.read_bytes()
    save_figure(out)
    assert path.read_bytes() == first


def test_a_running_sweep_without_its_points_has_no_figure_yet(make_sweep: Make, tmp_path: Path) -> None:
    asked = {"kind": "curve", "x": "strategy.size", "y": "final"}
    outcome = make_sweep(tmp_path, (("frozen", "control"),), status="running", figure=asked)
    assert draw(outcome, tmp_path) is None
