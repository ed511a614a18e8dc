"""The same training data by two versions of the model: what projections between versions learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from clplat.data.lazy import LazyExamples
from clplat.data.records import Domain, Example, Item, Picture
from clplat.errors import UserError
from clplat.runs.evenly import evenly

__all__ = ["Anchors", "Taught", "VersionPairs"]

T = TypeVar("T")


@dataclass
class Anchors:
    """Training data of the domains seen so far, evenly over domains and over each domain's data.

    Args:
        pictures: of queries and targets; ``domains`` and ``labels`` belong to them.
        texts: distinct.
        queries: pictures with texts.
    """

    pictures: list[Picture]
    domains: list[str]
    labels: list[str]
    texts: list[str]
    queries: list[Item]
    seen: list[str]

    @classmethod
    def of(cls, seen: Sequence[Domain], limit: int) -> Anchors:
        """At most ``limit`` of each, but one of every domain."""
        found, share = cls([], [], [], [], [], [domain.name for domain in seen]), max(1, limit // len(seen))
        for domain in seen:
            train, chosen = domain.train, evenly(domain.anchors, share)
            found.pictures += chosen
            found.domains += [domain.name] * len(chosen)
            if isinstance(train, LazyExamples):
                shown = train.labels([picture.key for picture in chosen])
                said, asked = train.said, train.asked
            else:
                shown = {e.target.picture.key: e.label for e in train if e.target.picture is not None}
                texts = (item.text for e in train for item in (e.query, e.target))
                said = list(dict.fromkeys(text for text in texts if text))
                asked = [e.query for e in train if e.query.picture is not None and e.query.text]
            found.labels += [shown.get(picture.key, "") for picture in chosen]
            found.texts += evenly(said, share)
            found.queries += evenly(asked, share)
        return found

    def embedded(self, what: str, embed: Any, encoder: Any) -> Tensor:
        """``pictures``, ``pooled``, ``texts`` or ``queries`` by a model."""
        if what in ("pictures", "pooled"):
            pictures = self._some(self.pictures, "pictures")
            found: Tensor = embed.images(encoder, pictures, raw=what == "pooled")
        elif what == "texts":
            found = embed.texts(encoder, self._some(self.texts, what))
        else:
            found = embed.asked(encoder, self._some(self.queries, what))["own"]
        return found

    def _some(self, entries: Sequence[T], what: str) -> Sequence[T]:
        if not entries:
            raise UserError(
                f"there are no training {what} in {', '.join(self.seen)} that a projection could be fitted "
                "on; let another domain come first, or choose --projection identity"
            )
        return entries


@dataclass(frozen=True)
class Taught:
    """Training queries of the domains seen so far, of any kind, each with its answer and its label."""

    queries: list[Item]
    answers: list[Item]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, seen: Sequence[Domain], limit: int) -> Taught:
        """At most ``limit``, evenly over domains and over each domain's data, but one of every domain.

        Raises:
            UserError: there is no training data.
        """
        share = max(1, limit // len(seen))
        chosen: list[Example] = [one for domain in seen for one in evenly(domain.train, share)]
        if not chosen:
            raise UserError("a post-processor that learns needs training examples, and the domains have none")
        return cls(
            [one.query for one in chosen], [one.target for one in chosen], tuple(one.label for one in chosen)
        )

    def asked(self, embed: Any, encoder: Any) -> Tensor:
        """Embeddings (B, D) of the queries."""
        found: Tensor = embed.asked(encoder, self.queries)["own"]
        return found


class VersionPairs:
    """See `clplat.parts.projections._base.Pairs`.

    Args:
        anchors: the data.
        then: what the old version made of them when it was current, by `Anchors.embedded`'s names.
        embed, encoder: embed them by the new version when they are asked for.
        sides: encoder -> key of a picture -> its vector.
    """

    def __init__(
        self,
        anchors: Anchors,
        then: Mapping[str, Tensor],
        embed: Any,
        encoder: Any,
        sides: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        self._anchors, self._then, self._embed, self._encoder = anchors, then, embed, encoder
        self._sides = sides
        self.keys: Sequence[str] = [picture.key for picture in anchors.pictures]
        self.domains: Sequence[str] = anchors.domains
        self.labels: Sequence[str] = anchors.labels

    def pictures(self, space: Literal["stored", "pooled"] = "stored") -> tuple[Tensor, Tensor]:
        return self._both("pictures" if space == "stored" else "pooled")

    def texts(self) -> tuple[Tensor, Tensor]:
        return self._both("texts")

    def queries(self) -> tuple[Tensor, Tensor]:
        return self._both("queries")

    def side(self, encoder: str = "base") -> Tensor:
        if encoder not in self._sides:
            raise UserError(f"nothing is kept of the encoder '{encoder}': a projection names it in `stores`")
        return torch.stack([self._sides[encoder][key] for key in self.keys])

    def _both(self, what: str) -> tuple[Tensor, Tensor]:
        if what not in self._then:
            raise UserError(f"nothing is kept of the old {what}: a projection names them in `reads`")
        return self._anchors.embedded(what, self._embed, self._encoder), self._then[what]
