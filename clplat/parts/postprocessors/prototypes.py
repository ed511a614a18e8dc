"""Proto-CLIP: prototypes of queries and of answers say which label a query is of, and move it there."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.caches import class_columns, numbered
from clplat.mechanisms.proto_clip import class_means, proto_shares, trained_prototypes
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored
from clplat.randomness import generator

__all__ = ["Prototypes"]


class Prototypes(PostProcessor):
    """Adds to ``q . g`` what the likely labels of q say of g.

        p(q) = share softmax(-sharpness |q - c|^2) + (1 - share) softmax(-sharpness |q - a|^2)

    over labels, with c the mean training query of a label and a its mean answer: the two modalities of the
    paper. With ``gives classes`` a score is ``q . g + weight p_i`` for the label i whose answer g is nearest
    to; with ``gives answers`` the query moves, ``q + weight sum_i p_i (a_i - mean a)``.

    Prototypes come from training data of the domains seen alone, and labels of a new domain are added to
    those before. With ``steps`` the queries and mean answers that they are made of are trained: each query
    for its label, and both prototypes of a label to find each other.

    Args:
        weight: of the labels beside the cosine.
        share: of the queries' prototypes, between 0 and 1.
        sharpness: of both.
        gives: ``classes`` or ``answers``.
        steps: of training; 0: none.
        rate: of that.
        seed: of its order.

    Raises:
        ValueError: a setting out of range.

    References:
        P. et al. 2024 (Proto-CLIP), arXiv:2307.03073.

    Example:
        >>> part = Prototypes(weight=1.0, sharpness=20.0)
        >>> keys, answers = torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
        >>> part.fit(Banks(keys, answers, answers=answers, labels=("shoe", "bag")))
        >>> moved, _ = part.map(Scored(keys), Scored(answers))
        >>> round(float(moved[0, 1]), 3)  # queries say the first label, answers neither
        0.5
    """

    maps: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    def __init__(
        self,
        weight: Annotated[float, Float(0.01, 10.0, log=True)] = 0.2,
        share: Annotated[float, Float(0.0, 1.0)] = 0.5,
        sharpness: Annotated[float, Float(0.1, 20.0, log=True)] = 12.0,
        gives: Annotated[Literal["classes", "answers"], Choice("classes", "answers")] = "answers",
        steps: int = 0,
        rate: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        seed: int = 0,
    ) -> None:
        if gives not in ("classes", "answers"):
            raise ValueError(f"gives must be classes or answers, not '{gives}'")
        if not (0 <= weight < 1e6 and 0 <= share <= 1 and 0 < sharpness < 1e4):
            raise ValueError(
                "needs a weight of at least 0, a share in [0, 1] and a sharpness above 0, not "
                f"{weight}, {share} and {sharpness}"
            )
        if steps < 0 or not 0 < rate < 1:
            raise ValueError(f"needs steps of at least 0 and a rate in (0, 1), not {steps} and {rate}")
        self.weight, self.share, self.sharpness, self.gives = weight, share, sharpness, gives
        self.steps, self.rate, self.seed = steps, rate, seed
        self._held: tuple[Tensor, Tensor] | None = None

    def fit(self, banks: Banks) -> None:
        """Make the prototypes of all labels seen, and train them."""
        self._held = None
        if banks.answers is None or not len(banks.answers):
            return
        own, count = numbered(banks.labels)
        rows = banks.queries.double()
        said = class_means(banks.answers.double(), own, count)
        self._held = class_means(rows, own, count), said
        if self.steps:
            with torch.inference_mode(False), torch.enable_grad():
                self._held = trained_prototypes(
                    rows.clone(),
                    said.clone(),
                    own,
                    share=self.share,
                    sharpness=self.sharpness,
                    steps=self.steps,
                    rate=self.rate,
                    draw=generator(self.seed, "prototypes"),
                )

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """(Q, D) and the gallery, or (Q, D + C) and (G, D + C) with a column for each label."""
        if self._held is None:
            return queries.rows.float(), gallery.rows.float()
        asked, (seen, said) = queries.rows.double(), self._held
        shares = self.weight * proto_shares(asked, seen, said, self.share, self.sharpness)
        if self.gives == "answers":
            return (asked + shares @ (said - said.mean(0))).float(), gallery.rows.float()
        return class_columns(queries.rows, gallery.rows, shares, said)
