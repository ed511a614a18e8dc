"""A stream from a table of one's own: reference, text, target, and whatever else the table says."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.named_items import NamedItems, NamedPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Protocol
from clplat.data.sources.opened import existing_table, open_table
from clplat.data.validate import validate_domain
from clplat.parts import Probe

from ._stream import Stream
from ._triplets.building import parts_of
from ._triplets.columns import named_roles
from ._triplets.domains import stream_of, with_domain
from ._triplets.galleries import own_gallery
from ._triplets.hidden import refuse_half_hidden
from ._triplets.making import Maker
from ._triplets.rows import read_rows
from ._triplets.splitting import shown_names, with_split

__all__ = ["Triplets"]

_UNIONS = ("domain", "all")


class Triplets(Stream):
    """Any table whose rows name a picture, a change in words, and the pictures that answer.

    Pictures are named by paths below a folder, or by members of the tar files that the rows are in. What a
    table does not say is made: splits by a stable hash such that no picture is in two, one domain, galleries
    of all that the queries of a split refer to.

    Args:
        table: JSON Lines, CSV with a header, Parquet, a folder that `datasets` has saved, or a folder of tar
            files as `webdataset` writes them.
        pictures: the folder that names of pictures are relative to; by default that of the table, or the tar
            files.
        columns: which column has which role, such as ``{"reference": "img", "domain": "season"}``. Roles are
            reference, text, target (the last two may hold lists), domain, split, time, id, label, candidates,
            exclude, tags, groups, weight, reference_caption, target_caption; tags and groups take several
            names with commas. Columns that are called like a role have it. An empty name: no column.
        separator: between the entries of a list in a cell of text; JSON lists are understood without.
        gallery: ``domain``: all that the queries of a domain and split refer to; ``all``: of all domains; or
            a table of items (columns name, picture, text, split, domain) or a folder of pictures.
        split_by: how rows are split, 60 / 15 / 25, where no column says it: ``components``, rows that share a
            picture stay together; ``pictures``, each picture has a split and rows that cross are left out; or
            a column among groups and tags.
        order: the domains in stream order; by default by their first rows.
        periods: so many domains by the column of times, as many rows in each.
        texts: several texts of a row are used ``apart`` (an example each, and their mean as a query) or
            ``joined`` by "and".
        queries: the most queries per domain and split, chosen by a stable hash.
        partial: rows may lack the reference or the text.
        hidden: rows of val and test may lack the target: a set none of whose rows has one is ranked and kept,
            and never scored.
        metrics: what is measured, see `clplat.data.protocol.Protocol`; by default R@K and mAP@K
            at 1, 5, 10, and MRR.
        primary: of the metrics, the one that comparisons show.
        exclude_reference: the reference is no answer to its own query.
        missing: refuse a table that names pictures that are not there, or leave out what needs them.
        name: the beginning of the keys of pictures.

    Example:
        >>> Triplets("shop.csv", columns={"reference": "img", "domain": "season"}, gallery="all").gallery
        'all'
    """

    def __init__(
        self,
        table: str,
        pictures: str | None = None,
        columns: dict[str, str] | None = None,
        separator: str | None = None,
        gallery: str = "domain",
        split_by: str | None = None,
        order: list[str] | None = None,
        periods: int | None = None,
        texts: Literal["apart", "joined"] = "apart",
        queries: int | None = None,
        partial: bool = False,
        hidden: bool = False,
        metrics: list[str] | None = None,
        primary: str = "R@10",
        exclude_reference: bool = True,
        missing: MissingPictures = "refuse",
        name: str = "triplets",
    ) -> None:
        for option, value in (("periods", periods), ("queries", queries)):
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, not {value}")
        if order is not None and (not order or len(set(order)) < len(order)):
            raise ValueError(f"order must name each domain once, not {order}")
        if separator == "":
            raise ValueError("separator must be a character or more, such as ';'")
        named_roles(columns or {})
        self.table, self.pictures, self.columns, self.separator = table, pictures, columns, separator
        self.gallery, self.split_by, self.order, self.periods = gallery, split_by, order, periods
        self.texts, self.queries, self.partial, self.hidden = texts, queries, partial, hidden
        self.missing, self.name = missing, name
        self.metrics, self.primary, self.exclude_reference = metrics, primary, exclude_reference
        self._protocol("column")

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such table; no row is read."""
        existing_table(self.table)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and no probes; the same objects at every call."""
        return self._built[0], []

    @property
    def report(self) -> dict[str, Any]:
        """What was read and made: plain values for a log."""
        domains, absent, read = self._built
        made = {
            d.name: {"train": len(d.train), **{split: len(held.queries) for split, held in d.sets.items()}}
            for d in domains
        }
        return {"table": str(self.table), **read, "made": made, "missing": absent.report}

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        _, absent, read = self._built
        said = list(absent.remarks)
        if read["crossing"]:
            said.append(
                f"{read['crossing']} of {read['rows']} rows of {Path(self.table).name} are left out: their "
                "pictures are of several splits (split_by pictures)"
            )
        if read["trained_on"]:
            said.append(
                f"{read['trained_on']} items of gallery {Path(self.gallery).name} are left out: they are "
                "trained on"
            )
        if read["unused"]:
            said.append(f"columns of {Path(self.table).name} without a role: {', '.join(read['unused'])}")
        return said

    def _protocol(self, split: str) -> Protocol:
        gallery = f"{self.gallery}-union" if self.gallery in _UNIONS else f"gallery-{Path(self.gallery).stem}"
        more = [
            *(["joined"] if self.texts == "joined" else []),
            *([f"at-most-{self.queries}"] if self.queries else []),
        ]
        name, metrics = "/".join([self.name, gallery, f"split-by-{split}", *more]), tuple(self.metrics or ())
        return Protocol(name, self.exclude_reference, primary=self.primary, metrics=metrics)

    @cached_property
    def _built(self) -> tuple[list[Domain], Absent, dict[str, Any]]:
        from pyarrow import compute as pc

        source = open_table(self.table)
        timeless = {"time": ""} if self.periods is None else {}
        columns = {**timeless, **(self.columns or {})}
        rows, chosen = read_rows(source, columns, self.separator, self.partial, self.hidden)
        where = str(source.path)
        rows, spans = with_domain(rows, self.periods, where)
        count = len(rows)
        stream = stream_of(rows, self.order)
        rows, by, crossing = with_split(rows, self.split_by, where)
        if self.hidden:
            refuse_half_hidden(rows, where)
        pictures: NamedPictures
        if source.pictures is not None and source.pictures.members and self.pictures is None:
            root, pictures = None, source.pictures.of(self.name)
        else:
            root = Path(self.pictures or source.path.parent)
            pictures = PictureFiles(root, self.name)
        own = None if self.gallery in _UNIONS else own_gallery(self.gallery, root)
        items = NamedItems(pictures, own.held if own else None, _captions(rows))
        names, parts = pc.unique(shown_names(rows)[0]).to_pylist(), parts_of(rows)
        del rows  # the parts are copies: a million rows are held once
        made = Maker(
            items, self._protocol(by), where, own, self.gallery == "all", self.texts == "joined", self.queries
        )
        domains = made.domains(parts, stream)
        del parts
        pictures.look(items.pictures_of(names if own is None else {**dict.fromkeys(names), **own.held}))
        domains, absent = without_missing(domains, pictures.absent, self.missing, "triplets")
        for domain in domains:
            validate_domain(domain)
        read = {
            "rows": count,
            "columns": {role: ", ".join(names) for role, names in chosen.items()},
            "unused": [name for name in source.names if not any(name in held for held in chosen.values())],
            "split": by,
            "crossing": crossing,
            "periods": spans,
            "trained_on": made.trained_on,
        }
        return domains, absent, read


def _captions(rows: Any) -> dict[str, str]:
    """Captions of pictures; the first of each."""
    found: dict[str, str] = {}
    for column, names in (("reference_caption", "reference"), ("target_caption", "targets")):
        if column in rows.column_names and names in rows.column_names:
            for name, caption in zip(
                rows.column(names).to_pylist(), rows.column(column).to_pylist(), strict=True
            ):
                first = name[0] if isinstance(name, list) else name
                if caption is not None and first is not None:
                    found.setdefault(first, caption)
    return found
