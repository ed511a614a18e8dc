"""A strategy in the trainer of sentence-transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.extras import named_extras
from clplat.integrations.transformers import WithStrategy
from clplat.models.outputs import Outputs

with named_extras("a strategy in the trainer of sentence-transformers"):
    from sentence_transformers import SentenceTransformerTrainer

__all__ = ["StrategyTrainer"]


class StrategyTrainer(WithStrategy, SentenceTransformerTrainer):  # type: ignore[misc]
    """``SentenceTransformerTrainer`` with a strategy, which sees the embeddings that the loss is computed of.

    Rows of the data's first column are queries, of the second their targets, of others more candidates.
    """

    def joins(self) -> Any:
        return self.data_collator

    def judged(self, model: Any, inputs: Any, items: Any = None) -> tuple[Tensor, Any]:
        columns: list[Tensor] = []
        hook = self.model.register_forward_hook(
            lambda module, given, made: columns.append(made["sentence_embedding"])
        )
        try:
            loss, _ = super().judged(model, inputs, items)
        finally:
            hook.remove()
        return loss, columns

    def seen(self, outputs: Any) -> Any:
        query, *candidates = (normalize(column, dim=-1) for column in outputs)
        if not candidates:
            return outputs[0]
        scale = torch.as_tensor(getattr(self.loss, "scale", 1.0))
        return Outputs(query, torch.cat(candidates), scale)
