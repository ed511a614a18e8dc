"""The picture, with what the text adds and without what it takes away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.mechanisms.directions import explained_by, without
from clplat.mechanisms.phrases import Change, changes, contrasts
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.parts.composers._words import words_of

__all__ = ["Edited"]


class Edited(Composer):
    """Directions of what a text adds are added to the picture, those of what it takes away are taken out.

    With r the picture, P and M the sums of the directions of added and of removed phrases (as
    `clplat.mechanisms.phrases` reads them), and n = division by the L2 norm:

    * ``removal="subtract"``: ``q = n(r + a P - b M)``;
    * ``"project"``: r without the share b of its part in the span of the removed directions, then ``+ a P``;
    * ``"explained"``: ``q = n(r - b M A + a P)``, A the least-squares map from texts to pictures of training
      data (`fit`); the untrained model subtracts.

    The direction of a phrase is its sentence, or with ``nouns`` an ideal word: the mean over the nouns of
    sentences that hold the word, minus that over all values of its kind. With ``replaces`` a value that is
    added takes the place of the value of its kind that the picture is nearest to, where none is named.

    Args:
        added: a, weight of what is added.
        removed: b, weight of what is taken away.
        removal: how.
        template: sentence of a phrase, with one ``*``.
        nouns: of the table of ideal words; none: sentences themselves.
        replaces: whether a value replaces another one that is not named.
        normalise: unit length for the picture and for every sentence first; the query has it in any case.

    Raises:
        ValueError: a negative weight, a template without one ``*``, another removal.

    What is trained: nothing; the towers are, where they train.

    Reference:
        "No Trust Issues Here: A Technical Report on the Winning Solutions for the Rayan AI Contest", 2024;
        Trager et al., "Linear Spaces of Meanings: Compositional Structures in Vision-Language Models", ICCV
        2023, arXiv:2302.14383; Jalali et al., "Dissecting CLIP: Decomposition with a Schur Complement-based
        Approach", 2024, arXiv:2412.18645.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = Edited()
        >>> composer.attach(Towers(tiny_backbone()))
        >>> text = TextFeatures(texts=["is red instead of blue"], pooled=torch.zeros(1, 24))
        >>> composer(ImageFeatures(pooled=torch.ones(1, 24)), text).shape
        torch.Size([1, 24])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": POOLED, "text": frozenset({"input"})}
    explained: Tensor

    def __init__(
        self,
        added: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        removed: Annotated[float, Float(0.0, 2.0)] = 1.0,
        removal: Literal["subtract", "project", "explained"] = "subtract",
        template: str = "a photo of a *.",
        nouns: Sequence[str] = (),
        replaces: bool = False,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        if not (added >= 0 and removed >= 0):
            raise ValueError(f"added and removed must be at least 0, not {added} and {removed}")
        if template.count("*") != 1:
            raise ValueError(f"template '{template}' must have one * for the phrase")
        if removal not in ("subtract", "project", "explained"):
            raise ValueError(f"removal is '{removal}'; allowed: subtract, project, explained")
        self.added, self.removed, self.removal = added, removed, removal
        self.template, self.nouns = template, tuple(nouns)
        self.replaces, self.normalise = replaces, normalise
        self.fits = removal == "explained"

    def attach(self, towers: Towers) -> None:
        """Keep the text tower at hand; nothing is drawn."""
        self.towers = towers
        if self.fits:
            self.register_buffer("explained", torch.eye(towers.joint))

    def fit(self, image: Tensor, text: Tensor, target: Tensor) -> None:
        if not self.fits:
            return
        if self.normalise:
            text, target = normalize(text, dim=-1), normalize(target, dim=-1)
        self.explained.copy_(explained_by(text, target))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows.

        Raises:
            UserError: texts that are known by their ids alone.
        """
        asked = [[self._values(change) for change in changes(said)] for said in words_of(text, "edited")]
        names = sorted(
            {name for row in asked for added, gone, kinds in row for name in (*added, *gone, *sum(kinds, ()))}
        )
        r = normalize(image.pooled, dim=-1) if self.normalise else image.pooled
        directions = self._directions(names, r)
        near = (normalize(r, dim=-1) @ normalize(directions, dim=-1).T).detach().tolist()
        number = {name: i for i, name in enumerate(names)}
        gains, losses = (r.new_zeros(len(r), len(names)) for _ in range(2))
        for row, (parts, close) in enumerate(zip(asked, near, strict=True)):
            for added, gone, kinds in parts:
                shown = [max(kind, key=lambda name: close[number[name]]) for kind in kinds]
                gains[row, [number[name] for name in added]] += 1.0
                losses[row, [number[name] for name in (*gone, *shown)]] += 1.0
        return normalize(self._without(r, losses, directions) + self.added * (gains @ directions), dim=-1)

    def _without(self, r: Tensor, losses: Tensor, directions: Tensor) -> Tensor:
        if self.removal == "project":
            most = max(1, int((losses > 0).sum(1).max()))
            places = losses.argsort(dim=1, descending=True, stable=True)[:, :most]
            return without(r, directions[places] * losses.gather(1, places)[..., None], self.removed)
        gone = losses @ directions
        return r - self.removed * (gone @ self.explained if self.fits else gone)

    def _values(self, change: Change) -> tuple[list[str], list[str], list[tuple[str, ...]]]:
        """What a change adds and removes, and the kinds of which it removes what the picture shows."""
        added, gone = self._named(change.added), self._named(change.removed)
        kinds = {word: contrasts(word) for word in added} if self.replaces else {}
        taken = {contrasts(word) for word in gone}
        open_kinds = [
            tuple(o for o in kind if o != word) for word, kind in kinds.items() if kind and kind not in taken
        ]
        return added, gone, open_kinds

    def _named(self, phrase: str) -> list[str]:
        """The values that a phrase names, where kinds of values matter; otherwise the phrase itself."""
        words = [word for word in phrase.split() if contrasts(word)] if self.nouns or self.replaces else []
        return words or ([phrase] if phrase else [])

    def _directions(self, names: Sequence[str], like: Tensor) -> Tensor:
        """The directions (M, D) of phrases."""
        mixed = [self._mixture(name) for name in names]
        sentences = sorted({sentence for one in mixed for sentence in one})
        if not sentences:
            return like.new_zeros(0, like.shape[1])
        found = self.towers.text(sentences).pooled
        found = normalize(found, dim=-1) if self.normalise else found
        shares = [[one.get(sentence, 0.0) for sentence in sentences] for one in mixed]
        return found.new_tensor(shares) @ found

    def _mixture(self, name: str) -> dict[str, float]:
        """The sentences whose weighted sum is the direction of a phrase."""
        said, kind = self.template.replace("*", name), contrasts(name)
        if not self.nouns:
            return {said: 1.0}
        share = 1.0 / len(self.nouns)
        if not kind:
            return {said: 1.0} | {self.template.replace("*", noun): -share for noun in self.nouns}
        table = {
            (value, noun): self.template.replace("*", f"{value} {noun}")
            for value in kind
            for noun in self.nouns
        }
        return {s: share * ((value == name) - 1.0 / len(kind)) for (value, _), s in table.items()}
