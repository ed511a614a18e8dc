"""What a set of queries asks of its gallery, in rows; and every metric of its protocol for every query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clplat.data.protocol import Protocol, metrics_in
from clplat.data.records import Gallery, Query, RetrievalSet
from clplat.evaluation.gallery import Embeddings
from clplat.evaluation.ranking import TieRule
from clplat.evaluation.retrieval import per_query_metrics

__all__ = ["Asked", "Measured", "asked", "measure", "target_rows"]


@dataclass(frozen=True)
class Asked:
    """Gallery rows of each of Q queries, padded with -1; None where nothing of the kind is named.

    ``targets`` and ``exclude`` (Q, ...); ``main`` (Q,); ``candidates`` (Q, C), all of the gallery for a query
    that names none.
    """

    targets: Tensor | None
    exclude: Tensor | None
    main: Tensor | None
    candidates: Tensor | None


@dataclass(frozen=True)
class Measured:
    """What `measure` finds of Q queries.

    ``values`` (Q,): ``rank`` and ``ties`` of the first metric's ranking; every metric of the protocol, 0 to
    1, and its primary one where that is a formula. ``tops``: best rows (Q, listed) by `Metric.over`.
    """

    values: dict[str, Tensor]
    tops: dict[str, Tensor]


def asked(held: RetrievalSet) -> Asked:
    """Turn the keys that queries name into rows of their gallery.

    Raises:
        ValueError: as `target_rows`.
    """
    queries, gallery = held.queries, held.gallery
    targets, exclude = target_rows(queries, gallery, held.protocol.exclude_reference)
    row = {item.key: i for i, item in enumerate(gallery.items)}
    mains = [row.get(query.main, -1) if query.main is not None else -1 for query in queries]
    own = None
    if any(query.candidates is not None for query in queries):
        whole = range(len(gallery.items))
        own = _padded(
            [whole if q.candidates is None else [row[key] for key in q.candidates] for q in queries]
        )
    return Asked(
        targets=_padded(targets) if held.labels == "known" else None,
        exclude=_padded(exclude) if exclude is not None else None,
        main=torch.tensor(mains) if max(mains, default=-1) >= 0 else None,
        candidates=own,
    )


def measure(
    held: RetrievalSet,
    rows: Asked,
    queries: Tensor,
    gallery: Embeddings,
    tie_rule: TieRule | None = None,
    listed: int = 0,
) -> Measured:
    """Everything that a protocol measures of its queries, one ranking for all metrics over the same targets.

    Args:
        held: with known labels.
        rows: of ``held``, by `asked`.
        queries: (Q, D) embeddings.
        gallery: as `rank_of_targets` takes it.
        tie_rule: in place of the protocol's.
        listed: how many of the best rows to keep of each ranking.
    """
    protocol, out, tops = held.protocol, dict[str, Tensor](), dict[str, Tensor]()
    named = protocol.measured
    assert rows.targets is not None, "a set with hidden labels is never scored"
    for over in dict.fromkeys(metric.over for metric in named):
        found = per_query_metrics(
            queries,
            gallery,
            rows.main[:, None] if over == "main" and rows.main is not None else rows.targets,
            rows.exclude,
            list(dict.fromkeys(m.k for m in named if m.over == over and m.k)) or (1,),
            among=rows.candidates if over == "sub" else None,
            tie_rule=tie_rule or protocol.tie_rule,
            listed=min(listed, len(held.gallery.items)),
        )
        if listed:
            tops[over] = found["top"]
        out = {"rank": found["rank"], "ties": found["ties"]} | out
        out |= {metric.name: found[metric.plain] for metric in named if metric.over == over}
    out = {name: out[name] for name in ("rank", "ties", *(metric.name for metric in named))}
    return Measured(out | primary_values(protocol, out), tops)


def primary_values(protocol: Protocol, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The primary metric (Q,) by its name: the mean, for each query, of the metrics that it is made of."""
    parts = [values[metric.name] for metric in metrics_in(protocol.primary)]
    return {protocol.primary: torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]}


def target_rows(
    queries: Sequence[Query], gallery: Gallery, exclude_reference: bool
) -> tuple[list[list[int]], list[list[int]] | None]:
    """Turn the keys of right answers, and of what is no candidate, into gallery rows.

    Returns:
        targets and exclude as `rank_of_targets` takes them; what is not in the gallery needs no exclusion.

    Raises:
        ValueError: the gallery holds a key twice, or lacks a query's target; the query is named.
    """
    row = {item.key: i for i, item in enumerate(gallery.items)}
    if len(row) < len(gallery.items):
        raise ValueError(f"gallery '{gallery.name}' holds a picture key twice")
    for query in queries:
        if missing := [key for key in query.targets if key not in row]:
            raise ValueError(
                f"target '{missing[0]}' of query '{query.id}' is not in gallery '{gallery.name}'"
            )
    targets = [[row[key] for key in query.targets] for query in queries]
    hidden = [
        [row[key] for key in dict.fromkeys((*_own(query, exclude_reference), *query.exclude)) if key in row]
        for query in queries
    ]
    return targets, hidden if exclude_reference or any(hidden) else None


def _own(query: Query, exclude_reference: bool) -> list[str]:
    return [query.reference.key] if exclude_reference and query.reference is not None else []


def _padded(rows: Sequence[Iterable[int]]) -> Tensor:
    lists = [torch.tensor(list(row), dtype=torch.long) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=-1)
