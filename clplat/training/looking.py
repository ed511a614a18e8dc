"""What a router sees of a data set: features of its pictures under the bare base."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clplat.models.frozen import weights_fixed
from clplat.retriever import ComposedRetriever
from clplat.training.hooks import SupportsLearning

__all__ = ["looked_at"]


@torch.no_grad()
def looked_at(learner: SupportsLearning, retriever: ComposedRetriever, data: Any) -> Tensor:
    """Pooled features (N, D) of the pictures of a data set, those of queries and of candidates."""
    with weights_fixed():
        batches = (range(start, min(start + 128, len(data))) for start in range(0, len(data), 128))
        return torch.cat(
            [retriever.look(learner.collate([data[i] for i in rows]).pictures).pooled for rows in batches]
        )
