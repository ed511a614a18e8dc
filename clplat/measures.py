"""The numbers of a result: one table says how each is read, what it is called and how it is written.

A sweep maximises, limits and shows measures by `name`; pages and figures head them with `title`, tables of
text with `heading`; MLflow keeps them under `mlflow`. No other module spells any of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from clplat.errors import unknown_name
from clplat.metric_names import meaning_of
from clplat.result_values import (
    Result,
    final_of,
    mean_of,
    probes_about,
    routed_right,
    scores_after,
    seconds_of,
    stability_of,
    zero_shot_series,
)

__all__ = [
    "COMPARED", "LOGGED_COSTS", "MEASURES", "Measure", "Result", "describe",
    "evaluate_measures", "find_measure", "mean_of", "probes_about", "scores_after",
    "zero_shot_series",
]  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A number that a result, complete or running, has after its newest row.

    Args:
        name: the name in options, and its key in ``sweep.json``.
        title: short name for people.
        unit: ``percent``, ``points``, ``share``, ``count``, ``flops``, ``bytes``, ``seconds`` or ``number``.
        better: ``"higher"`` or ``"lower"``.
        source: where a result holds it, ``scores.bwt`` or ``cost.exemplar_bytes``, or a function of it.
        meaning: what it measures, in a sentence.
        mlflow: its key in MLflow, whose column headers clip at about 13 characters; empty for the usual
            ``cl/<name>`` or ``cost/<name>``.
        heading: in tables of text, which are narrow; empty if they leave it out.
        digits: after the point, in tables of text.
        scale: what MLflow and tables of text divide by.
        column: its key in the rows of `clplat compare`; empty if it is not compared.
        signed: whether pages write a plus before it.
    """

    name: str
    title: str
    unit: str
    better: str
    source: str | Callable[[Result], float | None]
    meaning: str = ""
    mlflow: str = ""
    heading: str = ""
    digits: int = 1
    scale: float = 1.0
    column: str = ""
    signed: bool = False

    @property
    def within(self) -> str:
        """How a limit on it is written: the most it may be, or the least where higher is better."""
        return "≤" if self.better == "lower" else "≥"

    def value(self, result: Result) -> float | None:
        """Its value; None where it is undefined."""
        if not isinstance(self.source, str):
            return self.source(result)
        place, _, name = self.source.partition(".")
        if place == "scores":  # one dict per row
            return scores_after(result, len(result[place]) - 1).get(name)
        found: float | None = result[place].get(name)
        return found


MEASURES = {
    m.name: m
    for m in (
        Measure(
            "final", "final", "percent", "higher", final_of,
            "primary metric on all domains after the last one, mean over domains",
        ),
        Measure(
            "seen", "domains seen", "percent", "higher", "scores.acc_last",
            "primary metric on the domains trained so far, mean over domains",
            mlflow="cl/seen",
        ),
        Measure(
            "plasticity", "plasticity", "percent", "higher", "scores.plasticity",
            "score on each domain right after training on it",
            mlflow="cl/plast",
        ),
        Measure(
            "stability", "stability", "percent", "higher", stability_of,
            "score on the earlier domains after the last one",
        ),
        Measure(
            "forgetting", "forgetting", "points", "lower", "scores.forgetting_max",
            "a domain's best value since its training minus its value now, mean over domains",
            mlflow="cl/forget", heading="forgets", column="forget",
        ),
        Measure(
            "zero_shot_lost", "zero-shot lost", "points", "lower", "scores.zs_lost",
            "a domain's best value before its training minus its value now, where that is a loss, mean over "
            "domains",
            mlflow="cl/zs_lost",
        ),
        Measure(
            "bwt", "BWT", "points", "higher", "scores.bwt", "backward transfer",
            mlflow="cl/bwt", heading="BWT", column="bwt", signed=True,
        ),
        Measure(
            "transfer", "transfer", "percent", "higher", "scores.transfer",
            "MTIL's Transfer: a domain before its training, mean over the versions, then over domains",
        ),
        Measure(
            "average", "average", "percent", "higher", "scores.acc_all",
            "MTIL's Avg: all domains after each one, mean over the whole matrix",
        ),
        Measure(
            "fwt", "FWT", "points", "higher", "scores.fwt_init", "forward transfer",
            mlflow="cl/fwt", heading="FWT", column="fwt", signed=True,
        ),
        Measure(
            "zero_shot", "zero-shot kept", "percent", "higher", "scores.zs_retention",
            "what is left of the untrained model's score on data outside the stream, in percent",
            mlflow="cl/zs", heading="0-shot", digits=0, column="zs",
        ),
        Measure(
            "router_accuracy", "router accuracy", "percent", "higher", routed_right,
            "pictures of trained domains that the router sends to an expert of their own domain",
            mlflow="cl/routed",
        ),
        Measure(
            "AC", "AC", "share", "higher", "scores.AC", "share of compatible pairs of versions",
            mlflow="compat/AC",
        ),
        Measure(
            "update_gain", "update gain", "share", "higher", "scores.update_gain_own",
            "gain of an update in old indexes, as a share of its gain in new ones",
            mlflow="compat/update_gain_own",
        ),
        Measure(
            "backfill", "backfill", "percent", "lower", "scores.backfill",
            "gallery vectors that the last update changed",
        ),
        Measure(
            "trainable_parameters", "trained parameters", "count", "lower", "cost.trainable_parameters",
            "numbers that are trained",
            mlflow="cost/train_M", heading="M par", digits=3, scale=1e6, column="trainable_M",
        ),
        Measure(
            "training_flops", "training compute", "flops", "lower", "cost.training_flops",
            "floating-point operations of training",
            mlflow="cost/TFLOP", heading="TFLOP", scale=1e12,
        ),
        Measure(
            "exemplar_bytes", "exemplars", "bytes", "lower", "cost.exemplar_bytes",
            "pictures and texts that are kept",
            mlflow="cost/memory_MB", scale=1e6,
        ),
        Measure(
            "bytes_per_item", "stored vector", "bytes", "lower", "cost.bytes_per_item",
            "a vector of the gallery in an index",
        ),
        Measure(
            "seconds", "time", "seconds", "lower", seconds_of, "training and measuring",
            mlflow="cost/sec", heading="sec", digits=0, column="seconds",
        ),
    )
}  # fmt: skip

# Costs that are logged and no sweep uses.
LOGGED_COSTS = (
    Measure(
        "total_parameters", "parameters", "count", "lower", "cost.total_parameters",
        mlflow="cost/total_M", scale=1e6,
    ),
    Measure(
        "state_bytes", "kept beside exemplars", "bytes", "lower", "cost.state_bytes",
        mlflow="cost/state_MB", scale=1e6,
    ),
    Measure(
        "domain_flops", "compute between steps", "flops", "lower", "cost.domain_flops",
        mlflow="cost/between_TFLOP", scale=1e12,
    ),
    Measure(
        "optimizer_steps", "steps", "count", "lower", "cost.optimizer_steps", mlflow="cost/steps",
    ),
    Measure(
        "peak_memory_bytes", "peak memory", "bytes", "lower", "measured.peak_memory_bytes",
        mlflow="cost/peak_MB", scale=1e6,
    ),
)  # fmt: skip

# What the table of `clplat compare` and MLflow's leaderboard show, in their order.
COMPARED = tuple(measure for measure in MEASURES.values() if measure.column)


def find_measure(name: str) -> Measure:
    """A measure by name.

    Raises:
        UserError: there is none of that name; the nearest is offered.

    Example:
        >>> find_measure("forgetting").better
        'lower'
    """
    if name not in MEASURES:
        raise unknown_name("measure", name, MEASURES)
    return MEASURES[name]


def evaluate_measures(result: Result) -> dict[str, float | None]:
    """Every measure of a result, by name, in the order of `MEASURES`."""
    return {name: entry.value(result) for name, entry in MEASURES.items()}


def describe(name: str) -> Measure:
    """A measure, or a metric such as ``R@5`` or a mean of some as if it were one; others are plain numbers.

    Example:
        >>> describe("R_sub@3").meaning
        "a right answer is among the first 3; the query's own candidates"
        >>> describe("mean(R@5, R_sub@1)").unit, describe("something").unit
        ('percent', 'number')
    """
    if name in MEASURES:
        return MEASURES[name]
    if meaning := meaning_of(name):
        return Measure(name, name, "percent", "higher", lambda result: None, meaning)
    inside = re.fullmatch(r"mean\((.+)\)", name)
    parts = inside[1].split(", ") if inside else [name]
    known = name == "primary" or (inside and all(meaning_of(part) for part in parts))
    return Measure(name, name, "percent" if known else "number", "higher", lambda result: None)
