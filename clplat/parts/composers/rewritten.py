"""The reference's caption, rewritten by the text: a query of words alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.mechanisms.text_space import TextSpace
from clplat.models.features import NAMED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.parts.composers._words import texts_embedded, words_of

__all__ = ["Rewritten"]


class Rewritten(Composer):
    """The caption of the reference, rewritten by the text, asks in its place: ``q = n(sum_k w_k n(e(c_k)))``.

    e is the text tower, n divides by the L2 norm, and c_k are the rewritten captions of a picture and a text:
    of a table that a captioner and a language model wrote, or of the offline stand-in (the stream's own
    captions, rewritten by rules; see `clplat.mechanisms.text_space`). The pixels do not reach the query.

    With equal weights the ranking is that by the mean similarity over the captions. With ``divergent`` ones

        ``s_k = sum over the top largest of [b . n(e(a_k)) - b . n(e(c_k))]_+,  w = softmax(s / max(s) / T)``

    over pictures b of training data (`fit`), a_k the caption that c_k was made of: rewritten captions that
    turn away from what the picture looked like count more. Without training data the weights are equal.

    Args:
        texts: path of a table, `clplat texts write` makes one; empty: the stand-in.
        number: rewritten captions of each query; 0: all of a table, one of the stand-in.
        weights: of them.
        temperature: T of divergent weights.
        top: pictures of the bank that a divergent weight sums over.
        bank: pictures of training data that divergent weights look at.

    Raises:
        ValueError: no such table; weights of another name, a number out of its range.

    What is trained: nothing; the text tower is, where it trains.

    Reference:
        Karthik et al., "Vision-by-Language for Training-Free Compositional Image Retrieval", ICLR 2024,
        arXiv:2310.09291 (CIReVL); Yang et al., "LDRE: LLM-based Divergent Reasoning and Ensemble for
        Zero-Shot Composed Image Retrieval", SIGIR 2024, with divergent weights.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = Rewritten()
        >>> composer.attach(Towers(tiny_backbone()))
        >>> shown = ImageFeatures(keys=["bag.jpg"], captions=["a red bag"])
        >>> query = composer(shown, TextFeatures(texts=["is blue"]))
        >>> torch.allclose(query, normalize(composer.towers.text(["a blue bag"]).pooled, dim=-1))
        True
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": NAMED, "text": frozenset({"input"})}
    pictures: Tensor

    def __init__(
        self,
        texts: str = "",
        number: Annotated[int, Int(1, 5)] = 0,
        weights: Literal["equal", "divergent"] = "equal",
        temperature: Annotated[float, Float(0.01, 1.0, log=True)] = 0.04,
        top: Annotated[int, Int(1, 50, log=True)] = 5,
        bank: int = 512,
    ) -> None:
        super().__init__()
        if weights not in ("equal", "divergent"):
            raise ValueError(f"weights is '{weights}'; allowed: equal, divergent")
        if not temperature > 0 or not 1 <= top <= bank:
            raise ValueError(
                f"needs temperature > 0 and 1 <= top <= bank, not {temperature}, {top} and {bank}"
            )
        self.space = TextSpace(texts, number)
        self.temperature, self.top, self.bank = temperature, top, bank
        self.fits = weights == "divergent"

    def attach(self, towers: Towers) -> None:
        """Keep the text tower at hand, and room for the pictures that weights look at."""
        self.towers = towers
        if self.fits:
            self.register_buffer("pictures", torch.zeros(self.bank, towers.joint))

    def fit(self, image: Tensor, text: Tensor, target: Tensor) -> None:
        """Keep pictures that are answers, evenly over the training data; fewer than the bank leave zeros."""
        if self.fits:
            places = torch.linspace(0, len(target) - 1, min(self.bank, len(target))).round().long()
            self.pictures.zero_()
            self.pictures[: len(places)] = normalize(target[places], dim=-1)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows.

        Raises:
            UserError: a picture of which no caption is known, texts that are known by their ids alone.
        """
        after = self.space.rewritten(image.keys, image.captions, words_of(text, "rewritten"))
        rows, owners = texts_embedded(self.towers, after)
        shares = rows.new_ones(len(rows))
        if self.fits:
            before = self.space.captions(image.keys, image.captions)
            pairs = [
                [held[k % len(held)] for k in range(len(own))]
                for own, held in zip(after, before, strict=True)
            ]
            shares = self._shares(texts_embedded(self.towers, pairs)[0], rows, owners)
        query = rows.new_zeros(len(after), rows.shape[1]).index_add(0, owners, shares[:, None] * rows)
        return normalize(query, dim=-1)

    def _shares(self, before: Tensor, after: Tensor, owners: Tensor) -> Tensor:
        """Divergent weights (N,) of rewritten captions, which sum to 1 for each query."""
        lost = ((before - after) @ self.pictures.T).clamp(min=0)
        scores = lost.topk(self.top, dim=1).values.sum(1)
        count = int(owners[-1]) + 1
        most = scores.new_zeros(count).scatter_reduce(0, owners, scores, "amax")[owners]
        raised = ((scores / most.clamp(min=1e-12) - (most > 0).float()) / self.temperature).exp()
        total: Tensor = scores.new_zeros(count).index_add(0, owners, raised)
        return raised / total[owners]
