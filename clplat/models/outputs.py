"""What a model makes of a batch, and what losses and strategies see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.features import Triplets

__all__ = ["Outputs", "Rows", "Scorer", "are_embeddings", "as_outputs", "cosines", "dot", "similarities"]

#: Embeddings (B, ...) of one side and (C, ...) of the other -> scores (B, C).
Scorer = Callable[[Tensor, Tensor], Tensor]


def dot(left: Tensor, right: Tensor) -> Tensor:
    """The scorer of plain embeddings: ``left @ right.T``, the cosines of unit rows."""
    return left @ right.T


def cosines(query: Tensor, candidates: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """``scale cos(q_i, c_j)`` (B, C) of rows of any length, in full precision also under autocast.

    Example:
        >>> cosines(torch.tensor([[3.0, 0.0]]), torch.eye(2), scale=10.0)
        tensor([[10.,  0.]])
    """
    # At scale 100, bfloat16 rounds logits to steps of 0.5.
    with torch.autocast(query.device.type, enabled=False):
        return scale * normalize(query.float(), dim=-1) @ normalize(candidates.float(), dim=-1).T


@dataclass(frozen=True)
class Rows:
    """A further tensor of a batch.

    Args:
        value: one row per example or per candidate of the batch, in their order.
        along: which of the two.
    """

    value: Tensor
    along: Literal["example", "candidate"] = "example"


@dataclass
class Outputs:
    """What a model makes of a batch of B examples with C candidates.

    Args:
        query: (B, D), unit rows. Several vectors of one query stand in one flat row, see ``scorer``.
        candidates: (C, D), unit rows: the B targets, then all other candidates.
        scale: (), the model's logit scale, after exp.
        parts: further tensors by name; a retriever gives ``"raw_query"`` and ``"raw_candidates"``, the rows
            before head and normalisation, and where its loss wants them ``"candidate_tokens"``, the patches
            (C, N, W) of each candidate's picture, zeros where it has none.
        terms: objectives of the model's own parts by name, already weighted: scalars that are means over the
            examples, added to the loss that the model is trained on.
        scorer: compares embeddings; the dot product unless the model has another.
        teacher: what another model makes of the same batch, where a strategy has one.
        views: by name, what the task's loss is summed over in place of these outputs alone, where the model
            stores its embeddings in several ways, such as prefixes; each with its ``weight``.
        weight: of the loss of these outputs, where they are a view.
        triplets: features of references, texts and answers, where the composer `learns_from` them.

    Example:
        >>> out = Outputs(torch.eye(2), torch.eye(2), torch.tensor(10.0), {"text": Rows(2 * torch.eye(2))})
        >>> out.scores("text")[0]
        tensor([2., 0.])
    """

    query: Tensor
    candidates: Tensor
    scale: Tensor
    parts: Mapping[str, Rows] = field(default_factory=dict)
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    scorer: Scorer = dot
    teacher: Outputs | None = None
    views: Mapping[str, Outputs] = field(default_factory=dict)
    weight: float = 1.0
    triplets: Triplets | None = None

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, name: str) -> Tensor:
        """``"query"``, ``"candidates"`` or the value of a part.

        Raises:
            KeyError: the model makes no part of this name.
        """
        if name in ("query", "candidates"):
            own: Tensor = getattr(self, name)
            return own
        if name not in self.parts:
            known = ", ".join(("query", "candidates", *self.parts))
            raise KeyError(f"the outputs hold no '{name}' (there are: {known})")
        return self.parts[name].value

    def scores(
        self,
        left: str | Tensor = "query",
        right: str | Tensor = "candidates",
        scale: Tensor | float | None = None,
    ) -> Tensor:
        """Scores (B, C) of every row of one side with every row of the other, by the model's scorer.

        They are in full precision also under autocast: at a scale of 100, bfloat16 rounds to steps of 0.5.

        Args:
            left, right: names as in ``outputs[name]``, or embeddings of another version of the model.
            scale: multiplies the scores.
        """
        one, other = (self[side] if isinstance(side, str) else side for side in (left, right))
        if scale is not None and self.scorer is dot:
            return cosines(one, other, scale)  # the rows are scaled, as ever: the same bits in every release
        with torch.autocast(one.device.type, enabled=False):
            scores = self.scorer(one.float(), other.float())
            return scores if scale is None else scale * scores

    @classmethod
    def of_views(
        cls, query: Tensor, candidates: Tensor, scale: Tensor, views: Mapping[str, Any], scorer: Scorer = dot
    ) -> Outputs:
        """Outputs of the rows of a head: as its first view compares them, and all views that are trained.

        Args:
            query, candidates: as the head made them.
            views: name -> `clplat.parts.heads.View`, the main one first.
        """
        first, *others = views.values()
        main = cls(first.map(query, "query"), first.map(candidates, "gallery"), scale, scorer=scorer)
        if not others:
            return main
        for name, view in views.items():
            if view.weight > 0:
                seen = (main.query, main.candidates)
                if view is not first:
                    seen = view.map(query, "query"), view.map(candidates, "gallery")
                main.views = {**main.views, name: cls(*seen, scale, scorer=scorer, weight=view.weight)}
        return main

    @classmethod
    def joined(cls, made: Sequence[Outputs]) -> Outputs:
        """The outputs of a batch from those of its consecutive parts (`Batch.part`).

        A part has its targets and then its other candidates; in the batch all targets come before all others.
        Terms are means over examples: those of the parts count by their number of examples.
        """
        first, counts = made[0], [len(one) for one in made]

        def candidates(values: Sequence[Tensor]) -> Tensor:
            targets = [value[:n] for value, n in zip(values, counts, strict=True)]
            others = [value[n:] for value, n in zip(values, counts, strict=True)]
            return torch.cat(targets + others)

        join: dict[str, Any] = {"example": torch.cat, "candidate": candidates}
        return cls(
            torch.cat([one.query for one in made]),
            candidates([one.candidates for one in made]),
            first.scale,
            parts={
                name: Rows(join[rows.along]([one.parts[name].value for one in made]), rows.along)
                for name, rows in first.parts.items()
            },
            terms={
                name: torch.stack(
                    [one.terms[name] * (n / sum(counts)) for one, n in zip(made, counts, strict=True)]
                ).sum()
                for name in first.terms
            },
            scorer=first.scorer,
            views={name: cls.joined([one.views[name] for one in made]) for name in first.views},
            weight=first.weight,
        )


#: What open_clip and transformers call the embeddings of both sides.
_SIDES = (("image_features", "text_features"), ("image_embeds", "text_embeds"))


def as_outputs(made: Any) -> Outputs | Tensor:
    """What any model makes of a batch: embeddings as `Outputs`, or the logits (B, K) of a classifier.

    Args:
        made: outputs or logits as they are; a pair of unit rows (B, D) and (C, D), with a scale and more
            behind it where there is one, as open_clip's models put out; or a mapping with such features, or
            with ``logits``, as those of transformers.

    Raises:
        TypeError: it is nothing of these.

    Example:
        >>> as_outputs((torch.eye(2), torch.eye(2), torch.tensor(100.0))).scale
        tensor(100.)
    """
    if isinstance(made, Outputs | Tensor) or hasattr(made, "scores"):
        return made  # type: ignore[no-any-return]
    if isinstance(made, Mapping):
        if "logits" in made:
            return made["logits"]  # type: ignore[no-any-return]
        names = next((names for names in _SIDES if made.keys() >= {*names}), ())
        made = (*(made[name] for name in names), made.get("logit_scale", 1.0))
    if (
        not isinstance(made, tuple | list)
        or len(made) < 2
        or not all(isinstance(e, Tensor) for e in made[:2])
    ):
        known = "logits, a pair of embeddings, (image, text, scale) or clplat.parts.Outputs"
        raise TypeError(f"outputs are {known}, not {type(made).__name__}")
    query, candidates, *more = made
    return Outputs(query, candidates, torch.as_tensor(more[0] if more else 1.0))


def are_embeddings(made: Any) -> bool:
    """Whether the examples of a batch are each other's negatives: not where they have logits of their own."""
    return not isinstance(as_outputs(made), Tensor)


def similarities(outputs: Any) -> Tensor:
    """Scores of queries and candidates (B, C): by the model's scorer; of a classifier, its logits (B, K)."""
    made = as_outputs(outputs)
    return made if isinstance(made, Tensor) else made.scores()
