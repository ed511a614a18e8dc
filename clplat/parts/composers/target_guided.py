"""TG-CIR: for each of several views, keep the picture or take the text; a teacher sees the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, mse_loss, normalize

from clplat.config.space import Float, Int
from clplat.mechanisms.contrast import cosines, nce
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["TargetGuided"]

_ALL = frozenset({"pooled", "tokens"})
#: Objectives and their published weights.
_WEIGHTS = {"teacher": 1.0, "whole": 1.0, "apart": 0.1, "masks": 10.0, "degrees": 0.5}


class TargetGuided(Composer):
    """``q = mean_k (m_k r_k + (1 - m_k) t_k)`` over K views of picture and text, ``m_k = MLP([r_k; t_k])``.

    Views of an input x, in the joint space: ``relu(M_k) * x`` of the pooled feature for ``masks`` of them,
    each about a part of the dimensions at first, and ``mean_n sigmoid(w_k' c_n + b_k) c_n`` of its patches or
    words c, by a linear layer of each tower, for ``spots`` of them. M and w are those of pictures and of
    texts. A candidate is the mean of its views.

    A teacher sees the answer a: ``m'_k = MLP'([r_k; a_k])`` and ``n'_k = MLP''([t_k; a_k])``, which of both
    it shows. Objectives beside the task's:

    * ``teacher``: the views of ``m' r + n' t``, side by side with a learnt weight each, find those of a, at a
      learnt scale; r and t get no gradient of it.
    * ``whole``: ``m' + n'`` is near 1; ``apart``: the views of an input are orthogonal.
    * ``masks``: m is near m', and ``1 - m`` near n'.
    * ``degrees``: ``KL(p || p_q)``, p how alike answers of the batch are to each other and p_q how the
      queries rank them, both at ``temperature``.

    Args:
        masks: views by masks.
        spots: views by places.
        hidden: of each MLP, in joint widths.
        guided: weight of all objectives, which count 1 (``teacher``, ``whole``), 0.1 (``apart``), 10
            (``masks``) and 0.5 (``degrees``).
        temperature: of ``degrees``.

    Raises:
        ValueError: fewer than one view of a kind, a weight below 0, a temperature of 0 or below.

    What is trained: all of it, drawn by torch's generator in `attach` but for M and the linear layers, which
    are the identity at first.

    Reference:
        Wen et al., "Target-Guided Composed Image Retrieval", ACM MM 2023, arXiv:2309.01366.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = TargetGuided(masks=2, spots=3)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.masks.shape, composer.spots.weight.shape
        (torch.Size([2, 24]), torch.Size([3, 24]))
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": _ALL, "text": _ALL}
    target_wants: ClassVar[frozenset[str]] = _ALL
    learns_from: ClassVar[Mapping[str, frozenset[str]]] = {"answer": _ALL}

    def __init__(
        self,
        masks: Annotated[int, Int(1, 16, log=True)] = 4,
        spots: Annotated[int, Int(1, 16, log=True)] = 8,
        hidden: int = 1,
        guided: Annotated[float, Float(0.1, 3.0, log=True)] = 1.0,
        temperature: Annotated[float, Float(0.02, 1.0, log=True)] = 0.1,
    ) -> None:
        super().__init__()
        if min(masks, spots, hidden) < 1 or not (0.0 <= guided < float("inf") and temperature > 0):
            raise ValueError(
                f"needs masks, spots and hidden >= 1, guided >= 0 and temperature > 0, "
                f"not {masks}, {spots}, {hidden}, {guided} and {temperature}"
            )
        self.counts, self.hidden, self.guided, self.temperature = (masks, spots), hidden, guided, temperature

    def attach(self, towers: Towers) -> None:
        """Draw the layers.

        Raises:
            UserError: an opaque tower has no words, or no patches.
        """
        towers.need_tokens("target_guided")
        self.towers, width, (masks, spots) = towers, towers.joint, self.counts
        part = width // masks
        owner = (torch.arange(width) // max(1, part)).clamp(max=masks - 1)
        own = owner == torch.arange(masks)[:, None]
        self.masks = nn.Parameter(torch.where(own, 1.0, 0.1))
        self.spots = nn.Linear(width, spots)
        self.patches, self.words = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.patches, self.words):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.keeps, self.kept, self.taken = (self._mlp(width) for _ in range(3))
        self.weights = nn.Parameter(torch.ones(masks + spots))
        self.scale = nn.Parameter(torch.tensor(10.0))

    def _mlp(self, width: int) -> nn.Sequential:
        inner = self.hidden * width
        return nn.Sequential(nn.Linear(2 * width, inner), nn.ReLU(), nn.Linear(inner, 1), nn.Sigmoid())

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        shown, said = self.shown(image), self.said(text)
        keeps = self.keeps(torch.cat([shown, said], dim=-1))
        query: Tensor = (keeps * shown + (1.0 - keeps) * said).mean(dim=1)
        return query

    def target(self, image: ImageFeatures) -> Tensor:
        return self.shown(image).mean(dim=1)

    def shown(self, image: ImageFeatures) -> Tensor:
        """Views (B, K, D) of pictures."""
        assert image.tokens is not None
        return self._views(image.pooled, self.patches(self.towers.joint_patches(image.tokens)))

    def said(self, text: TextFeatures) -> Tensor:
        """Views (B, K, D) of texts; nothing behind the EOT counts."""
        assert text.tokens is not None and text.ends is not None
        words = self.words(self.towers.joint_words(text.tokens))
        there = torch.arange(words.shape[1], device=words.device) <= text.ends[:, None]
        return self._views(text.pooled, words, there[..., None].to(words.dtype))

    def _views(self, pooled: Tensor, members: Tensor, there: Tensor | None = None) -> Tensor:
        shares = torch.sigmoid(self.spots(members))
        count: Tensor | float = float(members.shape[1])
        if there is not None:
            shares, count = shares * there, there.sum(1)[..., None]
        local = torch.einsum("bnk,bnd->bkd", shares, members) / count
        return torch.cat([pooled[:, None] * torch.relu(self.masks), local], dim=1)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """The objectives above, where the batch has triplets."""
        seen = outputs.triplets
        if seen is None or not self.guided:
            return {}
        rows = torch.tensor(seen.rows, device=outputs.query.device)
        positive = batch.positive.to(rows.device)[rows][:, rows]
        found = self.objectives_of(
            self.shown(seen.reference), self.said(seen.text), self.shown(seen.answer), positive
        )
        return {name: self.guided * _WEIGHTS[name] * term for name, term in found.items()}

    def objectives_of(
        self, r: Tensor, t: Tensor, a: Tensor, positive: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Each objective, without its weight, of views (B, K, D) of references, texts and answers."""
        keeps = self.keeps(torch.cat([r, t], dim=-1))
        query = normalize((keeps * r + (1.0 - keeps) * t).mean(1), dim=1)
        old, new = r.detach(), t.detach()
        kept, taken = self.kept(torch.cat([old, a], dim=-1)), self.taken(torch.cat([new, a], dim=-1))
        teacher, answers = (
            (normalize(views, dim=-1) * self.weights[:, None]).flatten(1)
            for views in (kept * old + taken * new, a)
        )
        alike = cosines(answers, answers).detach() / self.temperature
        ranked = query @ normalize(a.mean(1), dim=1).T / self.temperature
        return {
            "teacher": nce(self.scale * teacher @ answers.T, positive),
            "whole": mse_loss(kept + taken, torch.ones_like(kept)),
            "apart": torch.stack([_overlap(views) for views in (r, a, t)]).mean(),
            "masks": mse_loss(keeps, kept.detach()) + mse_loss(1.0 - keeps, taken.detach()),
            "degrees": kl_div(ranked.log_softmax(1), alike.softmax(1), reduction="batchmean"),
        }


def _overlap(views: Tensor) -> Tensor:
    unit = normalize(views, dim=-1)
    gram = unit @ unit.transpose(1, 2)
    return mse_loss(gram, torch.eye(views.shape[1], device=views.device).expand_as(gram))
