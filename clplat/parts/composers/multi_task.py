"""M2-CLIP: an inner composer with further heads on what changes between a reference and its answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clplat.config.space import Float, Int
from clplat.models.features import ImageFeatures
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer

__all__ = ["MultiTask"]


class MultiTask(Around):
    """Trains an inner composer beside other tasks, whose heads no query needs: they are detached after it.

    With R, T the patches of a reference and of an answer, t the text:

    * difference adapter: ``d = mean_n D2 gelu(D1 (T - R))`` of the patches in their places;
    * ``matching``: whether an answer goes with the query, ``m([d, t])``, by binary cross-entropy over true
      answers and, for each, the answer of the batch that the model's scores take for it first;
    * ``words``: which words the change has, ``-mean_w log softmax(W d E')_w`` over all words of the batch's
      texts, w those of the text itself and E the text tower's own embeddings.

    Args:
        inner: what composes.
        matching: weight of that task.
        words: weight of that task.
        rank: width of the difference adapter.

    Raises:
        ValueError: a negative weight, a rank below 1.

    What is trained: the heads, about ``rank * (2 * W_image + D + W_text)`` numbers; what of ``inner`` is.

    Reference:
        Wang et al., "M2-CLIP: A Multimodal, Multi-task Adapting Framework for Video Action Recognition", AAAI
        2024, arXiv:2401.11649. There frames follow one another; here the answer follows the reference.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = MultiTask(rank=4)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.down.weight.shape
        torch.Size([4, 32])
    """

    def __init__(
        self,
        inner: Composer | None = None,
        matching: Annotated[float, Float(0.01, 2.0, log=True)] = 0.5,
        words: Annotated[float, Float(0.01, 2.0, log=True)] = 0.1,
        rank: Annotated[int, Int(8, 512, log=True)] = 64,
    ) -> None:
        super().__init__(inner)
        if not (0.0 <= matching < math.inf and 0.0 <= words < math.inf and rank >= 1):
            raise ValueError(
                f"needs matching and words >= 0 and rank >= 1, not {matching}, {words} and {rank}"
            )
        self.matching, self.words, self.rank = matching, words, rank
        more: Mapping[str, frozenset[str]] = self.inner.learns_from
        own = {"image": {"tokens"}, "answer": {"tokens"}, "text": {"pooled", "input"}}
        if matching or words:
            self.learns_from = {  # type: ignore[misc]
                side: more.get(side, frozenset()) | names for side, names in own.items()
            }

    def attach(self, towers: Towers) -> None:
        """Attach the inner composer, and draw the heads of tasks that have a weight.

        Raises:
            UserError: an opaque tower has no words, or no patches.
        """
        super().attach(towers)
        if not (self.matching or self.words):
            return
        towers.need_tokens("multi_task")
        self.down, self.up = nn.Linear(towers.image_tokens, self.rank), nn.Linear(self.rank, self.rank)
        if self.matching:
            self.match = nn.Sequential(
                nn.Linear(self.rank + towers.joint, self.rank), nn.GELU(), nn.Linear(self.rank, 1)
            )
        if self.words:
            self.say = nn.Linear(self.rank, towers.text_tokens, bias=False)

    def change(self, reference: ImageFeatures, answer: ImageFeatures) -> Tensor:
        """The d (B, rank) between pictures."""
        assert reference.tokens is not None and answer.tokens is not None
        made: Tensor = self.up(F.gelu(self.down((answer.tokens - reference.tokens).float())))
        return made.mean(dim=1)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``matching`` and ``words``, beside the inner composer's."""
        terms, seen = self.inner.terms(batch, outputs), outputs.triplets
        if seen is None or not (self.matching or self.words):
            return terms
        found = self.change(seen.reference, seen.answer)
        if self.matching:
            rows = torch.tensor(seen.rows, device=found.device)
            scores = outputs.scores(scale=outputs.scale)[rows][:, rows].detach()
            wrong = scores.masked_fill(batch.positive.to(found.device)[rows][:, rows], float("-inf"))
            best = wrong.max(dim=1)
            others = self.change(seen.reference, seen.answer.part(best.indices.tolist()))
            logits = [self.match(torch.cat([d, seen.text.pooled], dim=-1))[:, 0] for d in (found, others)]
            # A batch in which all answers go with a query has no wrong one.
            there = best.values.isfinite().to(found.dtype)
            cost = F.softplus(-logits[0]) + there * F.softplus(logits[1])
            terms = terms | {"matching": self.matching * cost.mean()}
        if self.words:
            terms = terms | {"words": self.words * self._words(found, seen.text)}
        return terms

    def _words(self, found: Tensor, text: Any) -> Tensor:
        """The cross-entropy of the words of the texts."""
        ids, ends = text.input_ids, self.towers.text_ends(text.input_ids)
        places = torch.arange(ids.shape[1], device=ids.device)
        said = (places > 0) & (places < ends[:, None])
        known, index = ids.unique(return_inverse=True)
        present = torch.zeros(len(ids), len(known), device=ids.device)
        present.scatter_add_(1, index, said.to(present.dtype))
        held = present.sum(dim=0) > 0
        present, embedded = (present[:, held] > 0).to(found.dtype), self.towers.embed_text(known[None])[0]
        logits = self.say(found) @ embedded[held].detach().to(found.dtype).T
        shares = present / present.sum(dim=1, keepdim=True).clamp_min(1)
        cost: Tensor = -(shares * logits.log_softmax(dim=-1)).sum(dim=1).mean()
        return cost
