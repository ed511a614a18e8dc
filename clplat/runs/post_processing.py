"""What a post-processor with a shortlist does in a run, and what the result says of it."""

from __future__ import annotations

import copy
from typing import Any

from clplat.evaluation.evaluator import VersionMetrics
from clplat.evaluation.reranking import RERANKED, rerank
from clplat.parts.postprocessors._base import Banks
from clplat.runs.assembly import Assembly
from clplat.runs.pairs import Anchors, Taught
from clplat.runs.processing import PROCESSED, Processing
from clplat.runs.results import add_gains, add_processed, rounded

__all__ = ["note_post_processing", "reranked"]


def reranked(parts: Assembly, version: int, row: VersionMetrics, limit: int) -> dict[str, dict[str, float]]:
    """Rank the lists of a version again, if the post-processor has a shortlist; what each set cost.

    One that learns is fitted first, on data of the domains seen; the untrained model saw none.
    """
    part = copy.deepcopy(parts.postprocessor)
    if part is None or not part.shortlist:
        return {}
    if part.learns and version:
        part.fit(_banks(parts, version, limit))
    return rerank(parts.evaluator, parts.retriever, row, part)


def _banks(parts: Assembly, version: int, limit: int) -> Banks:
    domains, embed, encoder = parts.domains[:version], parts.evaluator.embed, parts.retriever
    taught, shown = Taught.of(domains, limit), Anchors.of(domains, limit)
    return Banks(
        taught.asked(embed, encoder),
        shown.embedded("pictures", embed, encoder),
        answers=embed.items(encoder, taught.answers),
        labels=taught.labels,
    )


def note_post_processing(
    result: dict[str, Any],
    row: VersionMetrics,
    spent: dict[str, dict[str, float]],
    processing: Processing | None,
    split: str,
) -> None:
    """Write into the result what a post-processor brought and what it cost; times go where clocks are."""
    if processing is not None:
        add_processed(result["sets"][processing.name], processing.cells, processing.crowding)
    for name, bill in spent.items():
        seconds, asked = bill.pop("seconds"), max(1, bill["queries"])
        result["sets"][name]["cost"] = rounded(bill)
        if name.startswith(f"{split}/"):
            result["measured"]["rerank_ms_per_query"] = round(1000 * seconds / asked, 3)
    after = {f"{split}/{what}" for what in (RERANKED, PROCESSED)}
    add_gains(result, sorted(after & row.sets.keys()))
