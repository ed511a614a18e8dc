"""The contract of probes: what is measured of every model version beside retrieval on the stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, get_args

from torch import Tensor

from clplat.data.records import Picture, Query, RetrievalSet
from clplat.errors import UserError, unknown_name

__all__ = ["Group", "ModelView", "Probe", "Probes", "checked_probes", "texts_asked"]

#: ``zero-shot``: skill outside the stream, which the scores ``zs_*`` average; ``composition``: words that
#: change the meaning; ``geometry``: of the embeddings themselves; ``robustness``: against changed inputs;
#: ``stream``: what was trained on, in another way than its sets say.
Group: TypeAlias = Literal["zero-shot", "composition", "geometry", "robustness", "stream"]


class ModelView(Protocol):
    """One model version as a probe sees it. Embeddings are float32 on the CPU and take part in autograd.

    Attributes:
        version: experiences trained, 0 for the untrained model.
        sets: domain -> the queries and the gallery that it is evaluated on, in stream order.
        galleries: gallery -> its embeddings (G, D), as they were ranked.
        asked: domain -> embeddings (Q, D) of its queries.
        encoder: the model itself, for gradients and hidden states.
    """

    version: int
    sets: Mapping[str, RetrievalSet]

    @property
    def encoder(self) -> Any: ...

    @property
    def galleries(self) -> Mapping[str, Tensor]: ...

    @property
    def asked(self) -> Mapping[str, Tensor]: ...

    def images(self, pictures: Sequence[Picture], *, raw: bool = False) -> Tensor:
        """Embeddings (N, D) of pictures, unit rows; ``raw``: as the towers give them, without head."""
        ...

    def texts(self, texts: Sequence[str], *, raw: bool = False) -> Tensor:
        """Embeddings (N, D) of texts, as `images`."""
        ...

    def queries(self, queries: Sequence[Query]) -> Tensor:
        """Embeddings (N, D) of composed queries, unit rows."""
        ...

    def inputs(self, pictures: Sequence[Picture]) -> Any:
        """Pictures as the encoder takes them; its pixels are at ``.pixels``."""
        ...

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L)."""
        ...

    def nearest(self, domain: str, k: int) -> Tensor:
        """The gallery rows (Q, k) that answer a domain's queries, best first, -1 where there are no more."""
        ...

    def older(self, version: int) -> ModelView:
        """An earlier version, or this one; its ``asked`` and `nearest` are embedded anew.

        Raises:
            UserError: there is no such version.
        """
        ...


def texts_asked(view: ModelView, most: int) -> list[str]:
    """The first texts of the queries, at most so many."""
    queries = (query for held in view.sets.values() for query in held.queries)
    return [*islice((text for query in queries for text in query.said), most)]


class Probes:
    """Probes that go together; the constructor is the configuration."""

    #: It is measured only where the scenario has no probes of its own.
    stands_in: ClassVar[bool] = False

    def build(self) -> Sequence[Probe]:
        """The probes, equal at every call; pictures are loaded when they are needed."""
        raise NotImplementedError

    def beside(self, own: Sequence[Probe]) -> Sequence[Probe]:
        """Those that are measured beside the scenario's ``own``."""
        return () if own and self.stands_in else self.build()


class Probe(Probes):
    """One probe: named numbers of a model version.

    Attributes:
        name: in results.
        group: what kind of question it asks.
        headline: the number that stands for it, a key of what `measure` returns; None where none does.
        higher: whether more of the headline is better.
        unit: of the headline: ``percent`` or ``number``.
        pictures: that it will ask for, so that all towers run once.
        texts: that it will ask for; they are checked against the tokenizer's context.
    """

    name: str
    group: Group = "zero-shot"
    headline: str | None = None
    higher: bool = True
    unit: str = "percent"
    pictures: Sequence[Picture] = ()
    texts: Sequence[str] = ()

    def build(self) -> Sequence[Probe]:
        """Itself."""
        return (self,)

    def identity(self) -> list[Any]:
        """What decides about its numbers, as plain data: part of a scenario's fingerprint."""
        return [self.name, self.group, [picture.key for picture in self.pictures], list(self.texts)]

    def measure(self, view: ModelView) -> dict[str, float]:
        """Name -> number, the same names for every version; nothing of the model is changed."""
        raise NotImplementedError


def checked_probes(probes: Iterable[Any]) -> list[Probe]:
    """Probes that can be measured together.

    Raises:
        UserError: something that is no probe, a group that does not exist, or two of one name.
    """
    found: dict[str, Probe] = {}
    for probe in probes:
        if not isinstance(probe, Probe):
            raise UserError(
                f"a probe is a `clplat.parts.Probe`, such as RetrievalProbe, not {type(probe).__name__}"
            )
        if probe.group not in get_args(Group):
            raise unknown_name(f"group of probe '{probe.name}'", str(probe.group), get_args(Group))
        if probe.name in found:
            raise UserError(f"two probes have the name '{probe.name}'")
        found[probe.name] = probe
    return list(found.values())
