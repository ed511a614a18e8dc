"""How numbers are made: metrics by name, the cut-offs, what is excluded and how ties count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clplat.metric_names import METRIC, meaning_of

__all__ = ["Metric", "Protocol", "metrics_in"]

_MEAN = re.compile(r"mean\((.+)\)")


@dataclass(frozen=True)
class Metric:
    """One number of every query, by its name.

    ==========  =====================================================================
    ``R@K``     1 where the best-placed right answer is among the first K, else 0
    ``mAP@K``   average precision of the first K, divided by min(right answers, K)
    ``MRR``     1 / (rank + 1) of the best-placed right answer, ranks from 0
    ==========  =====================================================================

    ``R_sub@K``, ``mAP_sub@K``, ``MRR_sub``: among the query's own ``candidates``, not the whole gallery.
    ``R_main@K``, ``MRR_main``: of the query's ``main`` answer alone, its other right answers being rivals.

    Args:
        name: one of these, with a number for K.

    Raises:
        ValueError: another name.

    Example:
        >>> Metric("R_sub@3").over, Metric("mAP@10").k
        ('sub', 10)
    """

    name: str

    def __post_init__(self) -> None:
        if not meaning_of(self.name):
            raise ValueError(
                f"unknown metric '{self.name}' (allowed: R@K, mAP@K, MRR; among a query's own candidates "
                "R_sub@K, mAP_sub@K, MRR_sub; of its main answer R_main@K, mAP_main@K, MRR_main)"
            )

    @property
    def of(self) -> str:
        """``"R"``, ``"mAP"`` or ``"MRR"``."""
        return self._parts[0]

    @property
    def over(self) -> str:
        """``""`` for the whole gallery, ``"sub"`` for own candidates, ``"main"`` for the main answer."""
        return self._parts[1]

    @property
    def k(self) -> int:
        """The cut-off; 0 for MRR, which has none."""
        return int(self._parts[2] or 0)

    @property
    def plain(self) -> str:
        """The name without what it is measured over: ``R@3`` of ``R_sub@3``."""
        return f"{self.of}@{self.k}" if self.k else self.of

    @property
    def _parts(self) -> tuple[str, str, str]:
        found = METRIC.fullmatch(self.name)
        assert found is not None
        return found[1], found[2] or "", found[3] or ""


def metrics_in(formula: str) -> tuple[Metric, ...]:
    """The metrics of a formula: those of a ``mean(...)``, or the one that it names.

    Raises:
        ValueError: something in it is no metric.

    Example:
        >>> [metric.name for metric in metrics_in("mean(R@10, R@50)")]
        ['R@10', 'R@50']
    """
    inside = _MEAN.fullmatch(formula.strip())
    return tuple(Metric(name.strip()) for name in (inside[1].split(",") if inside else [formula]))


@dataclass(frozen=True)
class Protocol:
    """How a number was made: named, logged and hashed with every result.

    Args:
        name: e.g. ``"catalogue/near-miss"``.
        exclude_reference: the query's own reference picture is no candidate.
        ks: the cut-offs of R@K and mAP@K, where ``metrics`` names none.
        primary: what comparisons and R heat maps show: a metric, e.g. ``"R@5"``, or the mean of several, e.g.
            ``"mean(R@10, R@50)"``.
        metrics: what is measured, each a `Metric` or its name; by default R@K and mAP@K for all ``ks``, and
            MRR.
        tie_rule: ``"index"`` breaks ties by gallery row; ``"against"`` counts every tie with a wrong answer
            as lost, for codes that tie often and for galleries whose order tells the answer.

    Raises:
        ValueError: no such metric or tie rule, or a primary metric of what is not measured.

    Example:
        >>> cirr = Protocol("cirr", metrics=("R@1", "R@5", "R_sub@1"), primary="mean(R@5, R_sub@1)")
        >>> [metric.name for metric in cirr.measured]
        ['R@1', 'R@5', 'R_sub@1']
    """

    name: str
    exclude_reference: bool = True
    ks: tuple[int, ...] = (1, 5, 10)
    primary: str = "R@5"
    metrics: Sequence[Metric | str] = ()
    tie_rule: Literal["index", "against"] = "index"

    def __post_init__(self) -> None:
        named = tuple(Metric(metric) if isinstance(metric, str) else metric for metric in self.metrics)
        object.__setattr__(self, "metrics", named)
        wanted = [metric.name for metric in metrics_in(self.primary)]
        known = [metric.name for metric in self.measured]
        if missing := [name for name in wanted if name not in known]:
            raise ValueError(
                f"protocol '{self.name}' does not measure its primary metric '{missing[0]}' "
                f"(it measures: {', '.join(known)})"
            )
        if len(wanted) > 1 or "(" in self.primary:
            object.__setattr__(self, "primary", f"mean({', '.join(wanted)})")
        if self.tie_rule not in ("index", "against"):
            raise ValueError(f"unknown tie rule '{self.tie_rule}' (allowed: index, against)")

    @property
    def measured(self) -> tuple[Metric, ...]:
        """What is measured, in the order of tables."""
        if self.metrics:
            return tuple(metric for metric in self.metrics if isinstance(metric, Metric))
        names = [f"{of}@{k}" for of in ("R", "mAP") for k in self.ks]
        return tuple(Metric(name) for name in (*names, "MRR"))
