"""The embedded catalogue: product pictures drawn on demand, a category and a rendering style per domain."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from clplat.data.records import Domain
from clplat.errors import nearest, unknown_name
from clplat.parts import Probe

from ._catalogue import DOMAINS, build_domain, check_sizes
from ._catalogue import probes as catalogue_probes
from ._stream import Stream

if TYPE_CHECKING:
    from clplat.models.backbone import Backbone

__all__ = ["Catalogue"]


class Catalogue(Stream):
    """Domains of product pictures that need no download: dresses in a studio, tops in pencil, bags at night.

    A query shows a product and says what should be otherwise ("is red instead of blue and has longer
    sleeves"); text and reference determine the answer exactly. Galleries are full of near misses, so that
    neither the picture nor the text alone finds it. One colour-pattern combination in five never appears in
    training; queries carry the tag ``combination`` (``seen`` or ``unseen``).

    Args:
        domains: how many domains, in the order of `DOMAINS`, or which ones by name. The first six differ from
            each other in category and style; up to 36 are other pairs of these.
        order: the same domains in the order of the stream; by default as listed.
        train: training triplets per domain.
        queries: test queries per domain, at most as many as gallery pictures; validation has half as many.
        gallery: pictures in a domain's test gallery; validation has half as many.
        negatives: near misses that every training triplet brings along, 0 to 4.
        size: width and height in pixels at which pictures are drawn.
        seed: of what is drawn from the catalogue; by default the experiment's.

    Example:
        >>> [domain.name for domain in Catalogue(domains=2, train=10).build()[0]]
        ['dress-studio', 'top-sketch']
    """

    def __init__(
        self,
        domains: int | list[str] = 5,
        order: list[str] | None = None,
        train: int = 600,
        queries: int = 120,
        gallery: int = 300,
        negatives: int = 0,
        size: int = 96,
        seed: int | None = None,
    ) -> None:
        self.domains = domains
        self.order = order
        self.train = train
        self.queries = queries
        self.gallery = gallery
        self.negatives = negatives
        self.size = size
        self.seed = seed
        check_sizes(train, queries, gallery, negatives, size)
        self._names = _stream(domains, order)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and the probes; the same objects at every call."""
        return self._built

    def probes(self) -> list[Probe]:
        """Return the zero-shot probes: general retrieval and general classification."""
        return self._built[1]

    @staticmethod
    def pretraining() -> Callable[..., Backbone]:
        """What ``clplat pretrain`` calls; it made ``clplat-tiny`` of the catalogue's pictures."""
        from ._catalogue.pretrain import pretrain

        return pretrain

    @cached_property
    def _built(self) -> tuple[list[Domain], list[Probe]]:
        seed = self.seed or 0
        sizes = (self.train, self.queries, self.gallery, self.negatives, self.size)
        domains = [_domain(name, *sizes, seed) for name in self._names]
        return domains, catalogue_probes(seed, self.size)


@lru_cache(maxsize=64)  # the trials of a study and the strategies of a comparison share their domains
def _domain(
    name: str, train: int, queries: int, gallery: int, negatives: int, size: int, seed: int
) -> Domain:
    return build_domain(name, train, queries, gallery, negatives, size, seed)


def _stream(domains: int | list[str], order: list[str] | None) -> list[str]:
    """The names of the domains in the order of the stream."""
    if isinstance(domains, int):
        if not 1 <= domains <= len(DOMAINS):
            raise ValueError(f"domains must be 1 to {len(DOMAINS)}, not {domains}")
        names = list(DOMAINS[:domains])
    else:
        names = list(domains)
        _check_names(names)
    if order is None:
        return names
    _check_names(order)
    for name in order:
        if name not in names:
            raise ValueError(
                f"order names '{name}', which is not one of its domains"
                f"{nearest(name, names)} (allowed: {', '.join(names)})"
            )
    if len(order) < len(names):
        missing = ", ".join(name for name in names if name not in order)
        raise ValueError(f"order must name every domain; {missing} is missing")
    return list(order)


def _check_names(names: list[str]) -> None:
    for name in names:
        if name not in DOMAINS:
            raise ValueError(str(unknown_name("domain", name, DOMAINS)))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"domains must be named once each, not {names}")
