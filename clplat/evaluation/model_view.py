"""One model version as probes see it: `clplat.parts.probes._base.ModelView` of an evaluator's model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from clplat.data.records import Picture, Query, RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.asked import asked
from clplat.evaluation.comparing import Compared
from clplat.evaluation.ranking import top_k
from clplat.parts.probes._base import ModelView
from clplat.parts.scorers._base import Scorer

__all__ = ["VersionView"]


class VersionView:
    """A model version in the hands of probes.

    Args:
        embed: what embeds with any encoder: ``images``, ``texts``, ``queries``, ``pictures``, ``tokenize``.
        sets: domain -> what it is evaluated on.
        version: experiences trained.
        encoder: gives the model when it is first used.
        galleries: gives name -> what is stored when it is first used.
        asked: domain -> rows of its queries, as the head makes them; embedded anew where they are not kept.
        older: version -> its view.
        compared: how this version stores and compares its embeddings; by default as they are.
    """

    def __init__(
        self,
        embed: Any,
        sets: Mapping[str, RetrievalSet],
        version: int,
        encoder: Callable[[], Any],
        galleries: Callable[[], Mapping[str, Tensor]],
        asked: Mapping[str, Tensor] | None = None,
        older: Callable[[int], ModelView] | None = None,
        compared: Compared | None = None,
    ) -> None:
        self._compared = compared or Compared()
        self._embed, self._encoder, self._galleries, self._older = embed, encoder, galleries, older
        self.sets, self.version, self._asked = sets, version, asked
        self._kept: dict[tuple[Any, ...], Tensor] = {}

    @cached_property
    def encoder(self) -> Any:
        return self._encoder()

    @property
    def scorer(self) -> Scorer:
        """What compares queries with items."""
        return self._compared.scorer

    @cached_property
    def _held(self) -> Compared:
        return self._compared.holding(self._galleries())

    @cached_property
    def galleries(self) -> Mapping[str, Tensor]:
        return {name: self._held.rows(name) for name in self._held.stored}

    @cached_property
    def asked(self) -> Mapping[str, Tensor]:
        if self._asked is not None:
            return {name: self._compared.queries(rows).clone() for name, rows in self._asked.items()}
        return {name: self.queries(held.queries) for name, held in self.sets.items()}

    def images(self, pictures: Sequence[Picture], *, raw: bool = False) -> Tensor:
        return self._once(
            ("images", raw, *(picture.key for picture in pictures)),
            lambda: self._seen(self._embed.images(self.encoder, pictures, raw=raw), raw),
        )

    def texts(self, texts: Sequence[str], *, raw: bool = False) -> Tensor:
        return self._once(
            ("texts", raw, *texts),
            lambda: self._seen(self._embed.texts(self.encoder, texts, raw=raw), raw),
        )

    def queries(self, queries: Sequence[Query]) -> Tensor:
        found: Tensor = self._embed.queries(self.encoder, queries)["own"]
        return self._compared.queries(found).clone()

    def inputs(self, pictures: Sequence[Picture]) -> Any:
        return self._embed.pictures(pictures)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        tokens: Tensor = self._embed.tokenize(texts)
        return tokens

    def nearest(self, domain: str, k: int) -> Tensor:
        held = self.sets[domain]
        return top_k(self.asked[domain], self._held.gallery(held.gallery.name), k, asked(held).exclude)

    def older(self, version: int) -> ModelView:
        if version == self.version:
            return self
        if self._older is None or not 0 <= version < self.version:
            raise UserError(f"a probe of version {self.version} cannot look at version {version}")
        return self._older(version)

    def _seen(self, rows: Tensor, raw: bool) -> Tensor:
        return rows if raw else self._compared.items(rows)

    def _once(self, key: tuple[Any, ...], make: Callable[[], Tensor]) -> Tensor:
        """Probes share what they embed; a copy, as tensors of inference mode are closed to autograd."""
        if key not in self._kept:
            self._kept[key] = make().clone()
        return self._kept[key].clone()
