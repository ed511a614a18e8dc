"""From a result (plain data) to what MLflow knows of it: the values of one row, the costs, the losses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any

from clplat.measures import LOGGED_COSTS, MEASURES, mean_of, scores_after, zero_shot_series
from clplat.naming import flat, label, part, variant

__all__ = [
    "HEADLINES", "WORDS", "clean", "closing_metrics", "domain_keys", "in_words", "mean_key", "method_tags",
    "param_keys", "primary", "row_metrics", "rows_done", "short", "training_curves", "trial_key",
]  # fmt: skip

#: Measures that tables and pages show first, after the score.
HEADLINES = ("plasticity", "forgetting", "zero_shot")

# By the last part of where a result holds it: `forgetting_max` of `scores.forgetting_max`.
_KNOWN = {
    measure.source.rpartition(".")[2]: measure
    for measure in (*MEASURES.values(), *LOGGED_COSTS)
    if isinstance(measure.source, str) and measure.mlflow
}
_UNITS = {"percent": " (%)", "points": " (points)", "flops": " (TFLOP)", "bytes": " (MB)", "seconds": " (s)"}
#: Key in MLflow -> words with the unit.
WORDS = {
    measure.mlflow: measure.title
    + (" (millions)" if measure.unit == "count" and measure.scale != 1 else _UNITS.get(measure.unit, ""))
    for measure in (*MEASURES.values(), *LOGGED_COSTS)
    if measure.mlflow
}
_OF_C = ("AC_ties", "AM", "update_gain", "price")  # scores of C, the matrix of compatibility, beside measures


def short(metric: str) -> str:
    """``"R@5"`` -> ``"R5"``: MLflow forbids the ``@``."""
    return clean(metric.replace("@", ""))


def clean(text: str) -> str:
    """Only what MLflow allows in one part of a metric name."""
    return re.sub(r"[^\w\-. ]+", "_", text).strip(". ")[:100] or "_"


def mean_key(metric: str) -> str:
    """The key of a retrieval metric's mean over all domains of the stream.

    Example:
        >>> mean_key("R@5")
        'cl/R5'
    """
    return f"cl/{short(metric)}"


def trial_key(method: str) -> str:
    """The score of a trial once more, under the name of its method: what tells its trials from all others."""
    return f"tune/{clean(method)}"


def in_words(key: str) -> str:
    """A key as people call it; one that no measure has stays as it is.

    Example:
        >>> in_words("cl/mAP10"), in_words("R5/shoes")
        ('mean mAP@10', 'R5/shoes')
    """
    means = re.fullmatch(r"cl/([A-Za-z_]*[A-Za-z])(\d+)", key)
    return WORDS.get(key) or (f"mean {means[1]}@{means[2]}" if means else key)


def domain_keys(domains: Sequence[str]) -> list[str]:
    """The domains as parts of metric names, still distinct after cleaning.

    Example:
        >>> domain_keys(["shoes/eu", "shoes eu", "shoes_eu"])
        ['shoes_eu', 'shoes eu', 'shoes_eu_2']
    """
    return _distinct(map(clean, domains))


def param_keys(names: Iterable[str]) -> list[str]:
    """Dotted options as MLflow's names of parameters, still distinct: a key may be a user's text.

    Example:
        >>> param_keys(["seed", "scenario.words.Kleider (rot)", "scenario.words.Kleider {rot}"])
        ['seed', 'scenario.words.Kleider _rot_', 'scenario.words.Kleider _rot__2']
    """
    return _distinct(re.sub(r"[^\w\-. ]+", "_", name)[:240] for name in names)


def _distinct(bases: Iterable[str]) -> list[str]:
    """The same texts, those that came before with a number."""
    keys: dict[str, None] = {}
    for base in bases:
        others = (f"{base}_{number}" for number in count(2))
        keys[next(key for key in chain([base], others) if key not in keys)] = None
    return list(keys)


def primary(result: Mapping[str, Any]) -> str:
    """The metric that ranks this run, e.g. ``"R@5"``."""
    metrics = list(result.get("metrics") or {})
    wanted = (result.get("protocol") or {}).get("primary")
    return str(wanted if wanted in metrics or not metrics else metrics[0])


def rows_done(result: Mapping[str, Any]) -> int:
    """How many rows of R the result holds (T + 1 when it is complete)."""
    return len((result.get("metrics") or {}).get(primary(result)) or [])


def method_tags(result: Mapping[str, Any]) -> dict[str, str]:
    """What a comparison goes by: scenario, method, and the metric that ranks it."""
    config = result["config"]
    return {
        "clplat.scenario": part(config, "scenario"),
        "clplat.strategy": part(config, "strategy"),
        "clplat.label": label(config),
        "clplat.variant": variant(config),
        "clplat.primary": short(primary(result)),
    }


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _row(rows: Any, index: int) -> Any:
    return rows[index] if isinstance(rows, list) and index < len(rows) else None


def row_metrics(result: Mapping[str, Any], row: int) -> dict[str, float]:
    """All metrics after ``row`` domains (row 0: zero-shot), by MLflow name; what is undefined is left out."""
    main = primary(result)
    found: dict[str, Any] = {}
    keys = domain_keys(result["domains"])
    for metric, rows in result["metrics"].items():
        values = _row(rows, row) or []
        found |= {f"{short(metric)}/{key}": value for key, value in zip(keys, values, strict=False)}
        found[mean_key(metric)] = mean_of(values)
    for tag, metrics in (result.get("tags") or {}).items():
        found |= {f"tags/{clean(tag)}.{short(m)}": mean_of(_row(r, row) or []) for m, r in metrics.items()}
    for name, metrics in (result.get("baselines") or {}).items():
        found[f"base/{clean(name)}"] = mean_of(_row(metrics.get(main), row) or [])
    found["base/chance"] = mean_of((result.get("chance") or {}).get(main) or [])
    for probe, metrics in (result.get("probes") or {}).items():
        found |= {f"probe/{clean(probe)}.{short(m)}": _row(values, row) for m, values in metrics.items()}
    found |= {f"strategy/{clean(name)}": _row(v, row) for name, v in (result.get("numbers") or {}).items()}
    routed = (result.get("probes") or {}).get("routing", {}).get("accuracy")
    found[MEASURES["router_accuracy"].mlflow] = _row(routed, row)
    ties = _row(result.get("ties"), row)
    if ties is not None:
        found["check/ties"] = sum(value for value in ties if value) if isinstance(ties, list) else ties
    # One row of C: queries by this version on its own gallery, on all older ones and on the first.
    matrices = result.get("compatibility") or {}
    if cells := _row(matrices.get(main) or next(iter(matrices.values()), None), row):
        found |= {
            "compat/self": _row(cells, row),
            "compat/old": mean_of(cells[:row]),
            "compat/first": cells[0],
        }
    for name, value in flat(scores_after(result, row)).items():
        usual = f"compat/{name}" if name in _OF_C else f"cl/{clean(name)}"
        found[_KNOWN[name].mlflow if name in _KNOWN else usual] = value
    if "zs_retention" not in (_row(result.get("scores"), row) or {}):
        found.setdefault(MEASURES["zero_shot"].mlflow, _retention(result, row))
    named = {name: round(float(value), 4) for name, value in found.items() if _number(value)}
    # A run's page lists metrics in the order of logging: the headlines first, then the rest of the summary.
    first = [mean_key(main), *(MEASURES[name].mlflow for name in HEADLINES)]
    return dict(sorted(named.items(), key=lambda item: (item[0] not in first, not item[0].startswith("cl/"))))


def _retention(result: Mapping[str, Any], row: int) -> float | None:
    """What is left of the zero-shot probes in percent, when the scores do not include it."""
    ratios = []
    for values in zero_shot_series(result):
        start, now = _row(values, 0), _row(values, row)
        if _number(start) and _number(now) and start > 0:
            ratios.append(100 * now / start)
    return mean_of(ratios)


def closing_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Cost and measured times, known at the end; the time is the sum of all measured seconds."""
    measured = flat(result.get("measured") or {})
    found = {}
    for name, value in {**measured, **flat(result.get("cost") or {})}.items():
        if _number(value):
            known = _KNOWN.get(name)
            key, scale = (known.mlflow, known.scale) if known else (f"cost/{clean(name)}", 1)
            found[key] = round(float(value) / scale, 4)
    seconds = [v for name, v in measured.items() if name.endswith("seconds") and _number(v)]
    return found | ({MEASURES["seconds"].mlflow: round(float(sum(seconds)), 2)} if seconds else {})


def training_curves(result: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, float]]]:
    """Loss terms by optimizer step, as ``train/<term>``."""
    curves = dict(result.get("training") or {})
    for index, step in enumerate(curves.pop("step", [])):
        terms = {f"train/{clean(name)}": _row(values, index) for name, values in curves.items()}
        yield int(step), {name: round(value, 4) for name, value in terms.items() if _number(value)}
