"""What a model's uncertainty is worth: is it unsure of the queries that it gets wrong?"""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.data.records import RetrievalSet
from clplat.mechanisms.abstention import auroc
from clplat.mechanisms.calibration import linear_fit, recall_by_uncertainty, spearman
from clplat.parts.probes._base import Group, ModelView, Probe

__all__ = ["Calibration"]


class Calibration(Probe):
    """Recall by bins of uncertainty, of the queries that are evaluated; each number is a mean over domains.

    The uncertainty of a query is that of its distribution, where the model's scorer gives one (ProbVLM,
    UATVR), and otherwise how little its best answer scores. ``spearman`` is the rank correlation of the
    bins' uncertainty with their recall, -1 of a calibrated model, ``fit`` R^2 of a line through them and
    ``minus spearman x fit`` the paper's summary. ``errors``: how often, in percent, a query without a right
    answer among the best ``k`` is less sure than one with; 50 is chance. ``errors by score``: the same of
    how little the best answer scores, which any model has.

    Args:
        k: answers among which the right one counts.
        bins: of equal numbers of queries.

    Raises:
        ValueError: k below 1, or fewer than 2 bins.

    References:
        Upadhyay et al. 2023 (ProbVLM), arXiv 2307.00398.
    """

    name = "calibration"
    group: Group = "stream"
    headline = "errors"

    def __init__(self, k: int = 5, bins: int = 10) -> None:
        if k < 1 or bins < 2:
            raise ValueError(f"k must be at least 1 and bins at least 2, not {k} and {bins}")
        self.k, self.bins = k, bins

    def measure(self, view: ModelView) -> dict[str, float]:
        """The numbers, the same names for every model."""
        found: list[dict[str, float]] = []
        for name, held in view.sets.items():
            best, asked = view.nearest(name, self.k), view.asked[name]
            right, scorer = _right(held, best), view.encoder.scorer
            first = view.galleries[held.gallery.name][best[:, 0].clamp(min=0)]
            with torch.no_grad():
                low = -scorer.pairs(asked, first)
                spread = scorer.distribution(asked)
            unsure = low if spread is None else spread.uncertainty()
            levels = torch.arange(min(self.bins, len(unsure)))
            recalls = recall_by_uncertainty(unsure, right, self.bins)
            falls, fit = spearman(levels, recalls), linear_fit(levels, recalls)
            found.append(
                {
                    "spearman": falls,
                    "fit": fit,
                    "minus spearman x fit": -falls * fit,
                    "errors": _told(unsure, right),
                    "errors by score": _told(low, right),
                }
            )
        return {name: sum(one[name] for one in found) / len(found) for name in (found[0] if found else ())}


def _right(held: RetrievalSet, best: Tensor) -> Tensor:
    """Whether one of the best rows (Q, k) is a right answer (Q,)."""
    row = {item.key: i for i, item in enumerate(held.gallery.items)}
    targets = [{row[key] for key in query.targets if key in row} for query in held.queries]
    return torch.tensor([bool({*some} & own) for some, own in zip(best.tolist(), targets, strict=True)])


def _told(unsure: Tensor, right: Tensor) -> float:
    """In percent; chance where all are right, or none."""
    if right.all() or not right.any():
        return 50.0
    return 100.0 * auroc(unsure[~right], unsure[right])
