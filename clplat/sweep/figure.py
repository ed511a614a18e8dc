"""What the sweep's own figure may ask for, checked before anything runs; `clplat.report` draws it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from clplat.config.resolved import Config
from clplat.config.space import Space
from clplat.errors import UserError, unknown_name
from clplat.measures import MEASURES
from clplat.metric_names import meaning_of
from clplat.tuning.spaces import extremes

__all__ = ["FIGURES", "check_axis", "check_figure"]

#: Kind of figure -> its keys, beside ``kind`` and ``title``.
FIGURES = {"curve": ("x", "y", "log"), "scatter": ("x", "y"), "lines": ("y",), "heatmap": (), "bars": ("y",)}


def check_figure(figure: Any) -> None:
    """Refuse an unknown kind, key or measure, and a value of the wrong type.

    A retrieval metric is taken by its form: which ones are measured is known after the first run.

    Raises:
        UserError: the first of them.

    Example:
        >>> check_figure({"kind": "bars", "y": ["final", "R@5"], "title": "How good?"})
    """
    if not isinstance(figure, Mapping):
        raise UserError(f"'figure' of a sweep takes a mapping, {{kind: bars, y: final}} say, not {figure!r}")
    kind = figure.get("kind")
    if not isinstance(kind, str) or kind not in FIGURES:
        raise unknown_name("kind of figure", str(kind), FIGURES)
    keys = ("kind", "title", *FIGURES[kind])
    for key, value in figure.items():
        if key not in keys:
            raise unknown_name(f"key of a figure of kind '{kind}'", str(key), keys)
        if key == "title" and not isinstance(value, str | None):
            raise UserError(f"the figure's title is a text, not {value!r}")
        if key == "log" and not isinstance(value, bool | None):
            raise UserError(f"the figure's log is true or false, not {value!r}")
    if kind == "curve" and not isinstance(figure.get("x"), str):
        raise UserError(f"the figure's x is a dotted option such as strategy.size, not {figure.get('x')!r}")
    for key in [key for key in ("x", "y") if key in FIGURES[kind] and (kind, key) != ("curve", "x")]:
        _check_measures(kind, key, figure.get(key, "final"))


def _check_measures(kind: str, key: str, value: Any) -> None:
    names = value if isinstance(value, list | tuple) else [value]
    if not names or (kind == "scatter" and len(names) > 1):
        raise UserError(f"the figure's {key} takes one measure{'' if names else ' at least'}, not {value!r}")
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"the figure's {key} takes names of measures, not {name!r}")
        inside = re.fullmatch(r"mean\((.+)\)", name)
        metrics = inside[1].split(", ") if inside else [name]
        if name not in MEASURES and not all(map(meaning_of, metrics)):
            raise unknown_name(f"measure in the figure's {key}", name, MEASURES)


def check_axis(
    figure: Mapping[str, Any] | None, methods: Iterable[tuple[Config, Mapping[str, Space]]]
) -> None:
    """Refuse a curve over what is no number in any method of the sweep, as it is or as tuning draws it.

    Raises:
        UserError: there is no such option, or it is none.
    """
    if figure is None or figure["kind"] != "curve":
        return
    known: set[str] = set()
    for config, spaces in methods:
        values = {key: value for key, _, value in config.options()}
        values |= {key: extremes(space)[0] for key, space in spaces.items()}
        known.update(k for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool))
    if figure["x"] not in known:
        raise unknown_name("option that is a number, in the figure's x,", figure["x"], known)
