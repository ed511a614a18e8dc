"""A stream of composed retrieval from any shop's table of items with attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from clplat.data.column_pictures import ColumnPictures
from clplat.data.folders import SPLITS
from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.named_items import NamedPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Picture, RetrievalSet
from clplat.data.validate import validate_domain
from clplat.errors import UserError, unknown_name
from clplat.parts import Probe

from ._attributes.asked import draw_triplets, retrieval_sets
from ._attributes.items import Columns, in_periods, read_items
from ._attributes.phrases import ENGLISH, read_phrases
from ._attributes.rows import read_rows, table_files
from ._attributes.shop import Shop
from ._stream import Stream

__all__ = ["Attributes"]


class Attributes(Stream):
    """Queries are an item and a change of its attributes, answers all items that have what is wanted.

    "In red" keeps type and gender of the item that is shown; "trousers for women" keeps its colour. A right
    answer has the wanted values and all others of the reference, whatever its domain. The gallery holds all
    items of the split; those that lack a value are distractors. What a domain wants are its own items; what
    it shows are its own, or with ``references="all"`` those of every domain (in training, of no later one).

    Queries have tags: ``change``, the attributes that change, and ``combination``, ``unseen`` where no
    training item has all the wanted values. ``R_sub@1`` is measured among the answer that a query
    was made from and nine near misses, which lack one value where there are as many.

    Args:
        table: CSV with a header, JSONL, JSON, Parquet, a saved dataset; a tab-separated file, or a pattern
            for several, with ``header``; or a folder of pictures with ``extract``.
        attributes: columns of what changes and is kept, in the order in which it is said.
        domain: columns whose values together name the domain; by default there is one.
        order: the domains in stream order; by default all that give queries, by name.
        periods: cut the values of ``domain``, such as dates, into that many domains of about equal size.
        columns: which of them is the ``id``, the ``picture`` (both are called so by default), the ``title``
            and the ``split``. Without a split a hash of the id decides.
        pictures: the folder that names of pictures are relative to; by default that of the table.
        header: names of the columns of files that have none.
        extract: column -> regular expression, whose named groups become columns.
        phrases: a file of templates; by default the English ones that come with the platform.
        changes: attributes of a change at most; one is kept in any case.
        noise: share of texts that end in two words of the reference's title.
        references: what is changed into a domain's items: its own, or those of every domain.
        train: training triplets per domain; fewer where there are not that many.
        queries: queries per domain in val and in test; fewer where there are not that many.
        gallery: items of a gallery at most, those of the smallest hashes; by default all.
        negatives: candidates of each training triplet: its reference, then items that lack one value.
        unseen: share of combinations that training never shows.
        splits: shares of train, val and test; by default 60, 15 and 25 %.
        missing: refuse a table whose pictures are not all there, or leave out what needs them and say so.
        seed: of the training triplets.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import attributes
        >>> shop = attributes(Path(mkdtemp()))
        >>> stream = Attributes(str(shop), ["type", "colour", "gender"], domain=["type"])
        >>> [domain.name for domain in stream.build()[0]]
        ['Cross', 'Disc', 'Square']
        >>> stream.build()[0][0].test.queries[0].text
        'show it in black'
    """

    def __init__(
        self,
        table: str,
        attributes: list[str],
        domain: list[str] | None = None,
        order: list[str] | None = None,
        periods: int | None = None,
        columns: dict[str, str] | None = None,
        pictures: str | None = None,
        header: list[str] | None = None,
        extract: dict[str, str] | None = None,
        phrases: str | None = None,
        changes: int = 3,
        noise: float = 0.0,
        references: Literal["own", "all"] = "own",
        train: int = 600,
        queries: int = 120,
        gallery: int | None = None,
        negatives: int = 1,
        unseen: float = 0.1,
        splits: list[float] | None = None,
        missing: MissingPictures = "refuse",
        seed: int | None = None,
    ) -> None:
        self.table, self.attributes, self.domain, self.order = table, attributes, domain or [], order
        self.periods, self.columns, self.pictures, self.header = periods, columns or {}, pictures, header
        self.extract, self.phrases, self.changes, self.noise = extract or {}, phrases, changes, noise
        self.references, self.train, self.queries, self.gallery = references, train, queries, gallery
        self.negatives, self.unseen, self.splits = negatives, unseen, splits or [0.6, 0.15, 0.25]
        self.missing, self.seed = missing, seed
        self._check()

    def _check(self) -> None:
        for name in ("train", "queries", "gallery", "periods", "changes"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name in ("noise", "unseen"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        if len(self.splits) != 3 or min(self.splits) <= 0 or abs(sum(self.splits) - 1) > 1e-6:
            raise ValueError(f"splits must be three shares above 0 that add up to 1, not {self.splits}")
        if len(self.attributes) < 2 or len(set(self.attributes)) < len(self.attributes):
            raise ValueError(f"attributes must name two columns at least, each once, not {self.attributes}")
        if self.order is not None and (not self.order or len(set(self.order)) < len(self.order)):
            raise ValueError(f"order must name each domain once, not {self.order}")
        if self.negatives < 0:
            raise ValueError(f"negatives must be at least 0, not {self.negatives}")
        if self.periods is not None and len(self.domain) != 1:
            raise ValueError("periods needs a domain of one column")
        for role in self.columns:
            if role not in ("id", "picture", "title", "split"):
                raise ValueError(f"columns says what is the id, picture, title or split, not '{role}'")

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such table; nothing is read."""
        table_files(self.table)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order, and no probes; the same objects at every call."""
        return self._built[0], []

    def captioned(self, split: str = "train", domains: Sequence[str] | None = None) -> list[Picture]:
        """Return the pictures of a split with captions, to pretrain a CLIP on.

        A picture is returned once for each of its captions: what it is, by one attribute and by several; its
        title; and the phrases of every change that would end in it. By default those of every item of the
        split, whether its domain is in the stream or not.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        shop, wanted = self._shop, None if domains is None else frozenset(domains)
        items = [item for item in shop.shown[split] if wanted is None or item.domain in wanted]
        found = [replace(shop.picture(item), caption=text) for item in items for text in shop.captions(item)]
        gone = frozenset(shop.files.absent)
        if gone and self.missing == "refuse":
            raise UserError(f"scenario attributes: {len(gone)} pictures are missing, such as {min(gone)}")
        return [picture for picture in found if picture.key not in gone]

    @property
    def report(self) -> dict[str, Any]:
        """What was read, left out and made: plain values for a log."""
        domains, absent = self._built
        sizes = {d.name: (len(d.train), len(d.val.queries), len(d.test.queries)) for d in domains}
        made = {name: dict(zip(SPLITS, counts, strict=True)) for name, counts in sizes.items()}
        items, partial = Counter(item.split for item in self._shop.items), self._shop.partial
        found = {"items": dict(items), "incomplete": partial, "left_out": self._left_out, "made": made}
        return found | ({"missing": absent.report} if absent.pictures else {})

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        partial, items, some = self._shop.partial, len(self._shop.items), list[str]()
        if partial:
            some.append(f"{partial} of {items} items lack a value: they answer no query")
        if self._left_out:
            some.append(f"these values of domain are no domains of the stream: {', '.join(self._left_out)}")
        return some + self._built[1].remarks

    @cached_property
    def _shop(self) -> Shop:
        files = table_files(self.table)
        columns = Columns.of(self.columns, self.attributes, self.domain, self.splits)
        inside = ColumnPictures()
        rows = read_rows(files, self.header, self.extract, columns.named, inside)
        items = read_items(rows, columns, self.table)
        items = in_periods(items, self.periods) if self.periods is not None else items
        above = files[0] if files[0].is_dir() else files[0].parent
        phrases = read_phrases(Path(self.phrases).expanduser() if self.phrases else ENGLISH, self.attributes)
        root = Path(self.pictures or above).expanduser().absolute()
        pictures: NamedPictures = PictureFiles(root, root.name)
        if inside.members and self.pictures is None:
            pictures = inside.of(root.name)
        return Shop(items, self.attributes, phrases, pictures, self.unseen, self.noise)

    @cached_property
    def _known(self) -> list[str]:
        """All domains of the table, sorted."""
        return sorted({item.domain for item in self._shop.items if item.domain})

    @property
    def _left_out(self) -> list[str]:
        return [name for name in self._known if name not in {domain.name for domain in self._built[0]}]

    @cached_property
    def _built(self) -> tuple[list[Domain], Absent]:
        for name in self.order or ():
            if name not in self._known:
                raise unknown_name("domain", name, self._known)
        shop, names, everywhere = self._shop, self.order or self._known, self.references == "all"
        sets = {
            split: retrieval_sets(shop, split, names, everywhere, self.changes, self.queries, self.gallery)
            for split in ("val", "test")
        }
        domains: list[Domain] = []
        for name in names:
            domain = self._domain(name, [d.name for d in domains], sets)
            if domain is not None:
                domains.append(domain)
        if not domains:
            raise UserError(f"scenario attributes: no domain of {self.table} gives triplets and queries")
        left, absent = without_missing(domains, self._shop.files.absent, self.missing, "attributes")
        for domain in left:
            validate_domain(domain)
        return left, absent

    def _domain(
        self, name: str, earlier: Sequence[str], sets: Mapping[str, Mapping[str, RetrievalSet]]
    ) -> Domain | None:
        """A domain of the stream; None where it gives no triplets or no queries and was not asked for."""
        more = earlier if self.references == "all" else ()
        train = draw_triplets(
            self._shop, name, more, self.changes, self.train, self.negatives, self.seed or 0
        )
        if train and all(name in held for held in sets.values()):
            return Domain(name, train, sets["val"][name], sets["test"][name])
        if self.order is None:
            return None
        lacking = "no training triplets" if not train else "no queries in val or in test"
        raise UserError(
            f"scenario attributes: domain '{name}' gives {lacking}: a change needs two items of one "
            "split that differ in some attributes and agree in another"
        )
