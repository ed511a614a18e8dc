"""What it is worth to leave queries without an answer: by how sure a post-processor is of each."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from clplat.evaluation.lists import Lists
from clplat.mechanisms.abstention import auroc, coverage
from clplat.parts.postprocessors._base import PostProcessor, Shortlist, Spent

__all__ = ["abstaining", "without_answers"]


def abstaining(part: PostProcessor, found: Shortlist, kept: Lists, targets: Tensor | None) -> Tensor | None:
    """``auroc`` and ``surest_half`` in percent, (2,); None of a part that does not say how sure it is.

    ``auroc``: how often a query is surer than one whose right answers were taken out of the gallery; 50 is
    chance. ``surest_half``: the share of right first answers among the surer half of the queries.

    Args:
        part: see `PostProcessor.answerable`.
        found: the shortlist; kept: the longer lists that it was cut from.
        targets: right answers (Q, P), padded with -1.
    """
    sure = part.answerable(found)
    if sure is None:
        return None
    assert targets is not None, "whether an answer was there is known where answers are"
    gone = part.answerable(without_answers(found, kept, targets))
    assert gone is not None
    right = (found.rows[:, :1] == targets).any(1) & (found.rows[:, 0] >= 0)
    return torch.tensor([100.0 * auroc(sure, gone), 100.0 * coverage(sure, right, 0.5)]).double()


def without_answers(found: Shortlist, kept: Lists, targets: Tensor) -> Shortlist:
    """The shortlist as it is where no right answer is in the gallery; what follows moves up."""
    rows = kept.rows
    hit = ((rows[..., None] == targets[:, None, :]).any(2)) | (rows < 0)
    order = hit.int().argsort(dim=1, stable=True)[:, : found.rows.shape[1]]
    gone = hit.gather(1, order)
    scores = kept.scores.gather(1, order).masked_fill(gone, -torch.inf)
    return replace(found, rows=rows.gather(1, order).masked_fill(gone, -1), scores=scores, spent=Spent())
