"""Kept lists ranked again by a post-processor: a further set beside the one that was ranked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clplat.data.protocol import metrics_in
from clplat.data.records import Item, Query, RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.abstaining import abstaining
from clplat.evaluation.asked import primary_values
from clplat.evaluation.evaluator import Encoder, Evaluator, SetMetrics, VersionMetrics
from clplat.evaluation.lists import Lists, metrics_of_lists
from clplat.parts.postprocessors._base import PostProcessor, Shortlist, Spent
from clplat.parts.scorers._fit import scoring_by
from clplat.parts.scorers.filip import Filip

__all__ = ["RERANKED", "rerank", "reranked_sets"]

#: Patches of a picture at most; a larger grid is averaged to 16 x 16.
_PATCHES = 256
#: What the name of a set gets when its lists are ranked again.
RERANKED = "reranked"


def reranked_sets(evaluator: Evaluator) -> dict[str, dict[str, RetrievalSet]]:
    """The sets whose lists are ranked again: what is measured, and those with hidden labels.

    Raises:
        UserError: a protocol whose metrics a list cannot tell.
    """
    sets = {evaluator.split: dict(zip(evaluator.names, evaluator.sets, strict=True))}
    for what, domains in evaluator.further.items():
        hidden = {name: held for name, held in domains.items() if held.labels == "hidden"}
        sets |= {what: hidden} if hidden else {}
    for held in evaluator.sets:
        protocol = held.protocol
        # Lists are of the whole gallery: metrics of a query's own candidates are left out.
        if protocol.tie_rule != "index" or any(metric.over for metric in metrics_in(protocol.primary)):
            raise UserError(
                f"protocol '{protocol.name}' cannot be reranked: it needs a primary metric over the whole "
                "gallery, and ties broken by index"
            )
    return sets


@dataclass(frozen=True)
class _Rows:
    """What other scorers compare, by the model that ranked."""

    evaluator: Evaluator
    encoder: Any

    def queries(self, scorer: Any, queries: Sequence[Query]) -> Tensor:
        with scoring_by(self.encoder, scorer):
            return self.evaluator.queries(self.encoder, queries)["own"]

    def items(self, scorer: Any, items: Sequence[Item]) -> Tensor:
        with scoring_by(self.encoder, scorer):
            return self.evaluator.embed.items(self.encoder, items)

    def patches(self, items: Sequence[Item]) -> Tensor:
        scorer = Filip(vectors=_PATCHES)
        return scorer.patches_of(self.items(scorer, items))


def rerank(
    evaluator: Evaluator, encoder: Encoder, row: VersionMetrics, part: PostProcessor
) -> dict[str, dict[str, float]]:
    """Rank the shortlists of one model version again; the row gets a set ``<set>/reranked`` for each set.

    Returns:
        What each cost: ``pairs`` that were scored again, ``pictures`` and ``texts`` embedded for it,
        ``queries`` and the length of their ``shortlist``, and ``seconds``; where labels are known the
        ``ceiling``, the share of queries in percent with a right answer on the shortlist. Of a part that
        hands out as many as it trusts also how many (``returned``), how often none (``empty``), and how many
        of them are right (``precision``), in percent; of one that says how sure it is of an answer the
        numbers of `abstaining`.
    """
    cost: dict[str, dict[str, float]] = {}
    for what, domains in reranked_sets(evaluator).items():
        spent, cells, lists = Spent(), list[dict[str, float]](), dict[str, Lists]()
        ceilings, handed, abstains, start = list[float](), list[Tensor](), list[Tensor](), time.perf_counter()
        for name in evaluator.names:
            cells.append({})
            if name not in domains:
                continue
            held, kept, measured = domains[name], row.lists[what][name], what == evaluator.split
            asked = row.queries[name] if measured else evaluator.queries(encoder, held.queries)["own"]
            found = _shortlist(evaluator, encoder, held, asked, kept, part.shortlist, spent)
            scores = part.rerank(found)
            lists[name] = _sorted(kept, scores)
            if (kept_back := part.keeps(scores)) is not None and measured:
                handed.append(_handed_out(kept_back, found.rows, evaluator.rows_of(held).targets))
            if measured:
                worth = abstaining(part, found, kept, evaluator.rows_of(held).targets)
                abstains += [worth] if worth is not None else []
                cells[-1] = _means(evaluator, held, lists[name], row.ranks[name])
                ceilings.append(100.0 * (row.ranks[name] < found.rows.shape[1]).double().mean().item())
        named = dict.fromkeys(metric for cell in cells for metric in cell)
        table = {metric: [cell.get(metric) for cell in cells] for metric in named}
        row.sets[f"{what}/{RERANKED}"] = SetMetrics(table, [None] * len(cells))
        row.lists[f"{what}/{RERANKED}"] = lists
        queries = sum(len(one.rows) for one in lists.values())
        bill = asdict(spent) | {"queries": queries, "shortlist": part.shortlist}
        bill |= {"ceiling": sum(ceilings) / len(ceilings)} if ceilings else {}
        for names, found_ in (
            (("returned", "empty", "precision"), handed),
            (("auroc", "surest_half"), abstains),
        ):
            bill |= dict(zip(names, torch.stack(found_).mean(0).tolist(), strict=True)) if found_ else {}
        cost[f"{what}/{RERANKED}"] = bill | {"seconds": time.perf_counter() - start}
    return cost


def _shortlist(
    evaluator: Evaluator,
    encoder: Encoder,
    held: RetrievalSet,
    asked: Tensor,
    kept: Lists,
    size: int,
    spent: Spent,
) -> Shortlist:
    """The best ``size`` of each list of a set, with what a reranker may have embedded."""
    return Shortlist(
        held.queries,
        asked,
        held.gallery.items,
        kept.rows[:, :size],
        kept.scores[:, :size],
        partial(evaluator.images, encoder),
        spent,
        partial(evaluator.texts, encoder),
        _Rows(evaluator, encoder),
        partial(evaluator.embed.items, encoder),
    )


def _handed_out(keeps: Tensor, rows: Tensor, targets: Tensor | None) -> Tensor:
    """Items a query, percent of queries without any, percent of right ones among them."""
    assert targets is not None
    out = keeps & (rows >= 0)
    right = (rows[..., None] == targets[:, None, :]).any(2) & out
    counts = out.sum(1).double()
    precision = right.sum() / counts.sum().clamp(min=1)
    return torch.stack([counts.mean(), 100.0 * (counts == 0).double().mean(), 100.0 * precision])


def _sorted(kept: Lists, scores: Tensor) -> Lists:
    """The list with its first columns in the order of new scores; the rest keeps its place."""
    width = scores.shape[1]
    scores = scores.masked_fill(kept.rows[:, :width] < 0, -torch.inf)
    if torch.isnan(scores).any():
        raise UserError("a reranker gave a score that is no number")
    order = scores.argsort(dim=1, descending=True, stable=True)
    rows = torch.cat([kept.rows[:, :width].gather(1, order), kept.rows[:, width:]], 1)
    # Scores of both rankings are no longer comparable: those beyond the shortlist are not kept.
    beyond = torch.full_like(kept.scores[:, width:], -torch.inf)
    return replace(kept, rows=rows, scores=torch.cat([scores.gather(1, order), beyond], 1), own=None)


def _means(evaluator: Evaluator, held: RetrievalSet, lists: Lists, ranks: Tensor) -> dict[str, float]:
    measured, targets = held.protocol, evaluator.rows_of(held).targets
    assert targets is not None
    ks = [metric.k for metric in measured.measured if 0 < metric.k <= lists.rows.shape[1]] or [1]
    values = metrics_of_lists(lists.rows, targets, ranks, list(dict.fromkeys(ks)))
    found = {metric.name: values[metric.name] for metric in measured.measured if metric.name in values}
    if all(part.name in found for part in metrics_in(measured.primary)):
        found |= primary_values(measured, found)
    return {metric: 100.0 * value.double().mean().item() for metric, value in found.items()}
