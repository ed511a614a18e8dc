"""FashionIQ: dresses, shirts and tops, each asked for by a picture and two captions."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles

from ._cir import Benchmark, Read, finished
from ._fashioniq.annotations import CATEGORIES, JOINS, PUBLISHED, Annotations
from ._fashioniq.domains import category_domain, one_domain

__all__ = ["FashionIQ"]

_PROTOCOLS = [f"{gallery}/{join}" for gallery in ("original", "val") for join in JOINS]


class FashionIQ(Benchmark):
    """Three categories as domains, or all as one; the validation set is what papers report.

    The right answers of the official test set are not public: a number on FashionIQ is one of ``val``, and
    runs take ``--evaluation.split val``. The reference stays in the gallery. R@10 and R@50 of every category;
    the mean over categories of their mean is the single number that papers give.

    =============  ================================================================================
    ``captions``   what is embedded of the two captions c1 and c2
    =============  ================================================================================
    ``clip4cir``   "C1 and c2", stripped; with ``--transform phrasings`` training draws one of: both,
                   both in the other order, c1, c2, each in a quarter of the draws
    ``searle``     "c1 and c2" and "c2 and c1", the mean of both unit rows
    ``pic2word``   "c2 and c1", not stripped
    ``separate``   c1 and c2 are two queries
    =============  ================================================================================

    Args:
        root: the folder with ``captions``, ``image_splits`` and ``images``.
        order: the categories in stream order; by default all.
        domains: ``"categories"``: a domain each; ``"one"``: a single domain whose queries are ranked in the
            union of the galleries, the official numbers of each category beside it. Training triplets with a
            picture in a gallery of another category are left out then, and said.
        gallery: ``"original"``: all pictures of the split; ``"val"``: references and targets of its queries.
        captions: see above.
        also: further protocols to measure beside, as ``<gallery>/<captions>``, such as ``val/searle``.
        hidden: rank the official test queries as well; their answers are not public.
        images: the folder of pictures; by default that of the root.
        missing: pictures that are not there are refused, or left out and declared.

    Reference:
        Wu et al., "Fashion IQ: A New Dataset Towards Retrieving Images by Natural Language Feedback",
        CVPR 2021, arXiv:1905.12794. Captions as the code of CLIP4Cir (arXiv:2308.11485), SEARLE
        (arXiv:2303.15247) and Pic2Word (arXiv:2302.03084) joins them.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import fashioniq
        >>> [domain.name for domain in FashionIQ(str(fashioniq(Path(mkdtemp())))).build()[0]]
        ['dress', 'shirt', 'toptee']
    """

    def __init__(
        self,
        root: str,
        order: list[str] | None = None,
        domains: Literal["categories", "one"] = "categories",
        gallery: Literal["original", "val"] = "original",
        captions: Literal["clip4cir", "searle", "pic2word", "separate"] = "clip4cir",
        also: list[str] | None = None,
        hidden: bool = False,
        images: str | None = None,
        missing: MissingPictures = "refuse",
    ) -> None:
        self.order = list(CATEGORIES if order is None else order)
        strange = [name for name in self.order if name not in CATEGORIES]
        if strange or not self.order or len(set(self.order)) < len(self.order):
            raise ValueError(f"order must be some of {', '.join(CATEGORIES)}, each once, not {order}")
        if domains not in ("categories", "one"):
            raise ValueError(f"domains must be 'categories' or 'one', not '{domains}'")
        self.protocols = [f"{gallery}/{captions}", *(also or ())]
        for name in self.protocols:
            if name not in _PROTOCOLS or self.protocols.count(name) > 1:
                raise ValueError(f"unknown or repeated protocol '{name}' (allowed: {', '.join(_PROTOCOLS)})")
        self.root, self.domains, self.gallery, self.captions = root, domains, gallery, captions
        self.also, self.hidden, self.images, self.missing = also, hidden, images, missing

    @property
    def published(self) -> dict[str, int]:
        """Counts of the official files by name: queries and pictures of each category and split."""
        wanted = ("train", "val", "test") if self.hidden else ("train", "val")
        parts = {name: name.split("/") for name in PUBLISHED}
        return {n: PUBLISHED[n] for n, p in parts.items() if p[0] in self.order and p[1] in wanted}

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(self.root, "fashioniq")

    @cached_property
    def _files(self) -> PictureFiles:
        return PictureFiles(self.images or Path(self.root).expanduser() / "images", "fashioniq")

    @cached_property
    def _read(self) -> Read:
        read, files = Annotations(self.root), self._files
        made = [category_domain(read, files, name, self.protocols, self.hidden) for name in self.order]
        held = {item.key for domain in made for one in domain.sets.values() for item in one.gallery.items}
        shared = {picture.key for domain in made for picture in domain.anchors} & held
        notes = (
            [f"{len(shared)} training pictures stand in the gallery of another category"] if shared else []
        )
        if self.domains == "one":
            one, lost = one_domain(made, shared)
            made = [one]
            notes = [
                f"{lost} training triplets are left out: galleries of other categories show their pictures"
            ]
        counts = {}
        for name in self.published:
            category, split, what = name.split("/")
            counts[name] = len((read.entries if what == "queries" else read.names)(category, split))
        found = Read(made, counts, self.published, notes=tuple(notes))
        return finished(found, [files], self.missing, "fashioniq")
