"""Examples in columns of Arrow: a million of them take the memory of their texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

from clplat.data.arrow_columns import distinct, entries, one_array
from clplat.data.examples import Candidate, Example
from clplat.data.items import Item, Picture
from clplat.data.lazy import Block, LazyExamples, Taken, first_place
from clplat.data.named_items import NamedItems
from clplat.extras import named_extras

with named_extras("a table of examples"):
    import pyarrow as pa
    from pyarrow import compute as pc

__all__ = ["ExampleTable"]

_BLOCK = 1 << 14
_TEXT = pa.large_string()
_LIST = pa.large_list(_TEXT)
_COLUMNS = {
    "id": _TEXT,
    "reference": _TEXT,
    "text": _TEXT,
    "target": _TEXT,
    "label": _TEXT,
    "weight": pa.float64(),
    "positives": _LIST,
    "negatives": _LIST,
}

#: Columns whose names are of items that may be pictures.
_SHOWN = ("reference", "target", "positives", "negatives")


class ExampleTable(LazyExamples):
    """Examples of one domain. A row names its items; see `clplat.data.examples.Example`.

    Args:
        domain: its name.
        columns: ``id``, ``target`` and at least one of ``reference`` and ``text``; ``label`` (by default the
            target's key), ``weight``, ``negatives`` and ``positives`` (lists of names), and ``group:<name>``
            for each grouping. A cell may be null where it is optional.
        items: what the names stand for.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.data.picture_files import PictureFiles
        >>> names = {"id": ["0"], "reference": ["a"], "text": ["in red"], "target": ["b"]}
        >>> table = ExampleTable("shoes", names, NamedItems(PictureFiles(mkdtemp(), "shop")))
        >>> table[0].target.key, table[0].label
        ('shop/b', 'shop/b')
    """

    def __init__(self, domain: str, columns: Mapping[str, Any], items: NamedItems) -> None:
        self.domain, self.items = domain, items
        self.columns: dict[str, Any] = {
            name: one_array(column, _COLUMNS.get(name, _TEXT))
            for name, column in columns.items()
            if column is not None
        }
        self._groups = [name for name in self.columns if name.startswith("group:")]

    def __len__(self) -> int:
        return len(self.columns["id"])

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | Sequence[Example]:
        if isinstance(place, slice):
            return Taken(self.__getitem__, range(len(self))[place])
        place = range(len(self))[place]
        return self._example({name: column[place].as_py() for name, column in self.columns.items()})

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), _BLOCK):
            yield from self._some(start)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ExampleTable):
            same = self.domain == other.domain and self.columns.keys() == other.columns.keys()
            return same and all(column.equals(other.columns[name]) for name, column in self.columns.items())
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    # -- one example --------------------------------------------------------------------------------------

    def _some(self, start: int) -> Iterator[Example]:
        part = {name: column.slice(start, _BLOCK).to_pylist() for name, column in self.columns.items()}
        for cells in zip(*part.values(), strict=True):
            yield self._example(dict(zip(part, cells, strict=True)))

    def _example(self, row: Mapping[str, Any]) -> Example:
        get, item = row.get, self.items.item
        target = item(row["target"])
        label = get("label") or target.key
        weight = get("weight")
        return Example(
            row["id"],
            Item.of(None if get("reference") is None else self.items.picture(row["reference"]), get("text")),
            target,
            label,
            self.domain,
            (
                *(Candidate(item(name), label, "positive") for name in get("positives") or ()),
                *(
                    Candidate(item(name), self.items.key(name), "candidate")
                    for name in get("negatives") or ()
                ),
            ),
            {name.removeprefix("group:"): row[name] for name in self._groups if row[name] is not None},
            {},
            1.0 if weight is None else weight,
        )

    # -- all of them --------------------------------------------------------------------------------------

    @cached_property
    def sound(self) -> bool:
        ids = self.columns["id"]
        texts = self.columns.get("text")
        filled = texts is None or pc.min(pc.utf8_length(pc.utf8_trim_whitespace(texts))).as_py() != 0
        said = any(text is not None and not text.strip() for _, text in self.items.held.values())
        return filled and not said and pc.count_distinct(ids).as_py() == len(ids)

    @property
    def anchors(self) -> Sequence[Picture]:
        if not self.items.plain:
            shown = (item.picture for example in self for item in (example.query, example.target))
            return list({picture.key: picture for picture in shown if picture is not None}.values())
        names = self._distinct("reference", "target")
        return Taken(lambda i: self.items.picture(names[i].as_py()), range(len(names)))

    @property
    def asked(self) -> Sequence[Item]:
        both = [self.columns[name] for name in ("reference", "text") if name in self.columns]
        if len(both) < 2:
            return ()
        there = pc.indices_nonzero(pc.and_(pc.is_valid(both[0]), pc.is_valid(both[1])))
        return Taken(lambda i: self[there[i].as_py()].query, range(len(there)))

    @property
    def said(self) -> Sequence[str]:
        if not self.items.plain:
            texts = (item.text for example in self for item in (example.query, example.target))
            return list(dict.fromkeys(text for text in texts if text))
        texts = self._distinct("text")
        return Taken(lambda i: str(texts[i].as_py()), range(len(texts)))

    def labels(self, keys: Collection[str]) -> Mapping[str, str]:
        if not self.items.plain:
            return {e.target.picture.key: e.label for e in self if e.target.picture is not None}
        rows = pc.is_in(self.columns["target"], self._names(keys))
        found = [self.items.prefix + name for name in self.columns["target"].filter(rows).to_pylist()]
        labels = self.columns["label"].filter(rows).to_pylist() if "label" in self.columns else found
        return {key: label or key for key, label in zip(found, labels, strict=True)}

    def shown(self, keys: Collection[str] | None = None) -> set[str]:
        prefix = self.items.prefix
        there = [self.columns[name] for name in _SHOWN if name in self.columns]
        names = entries(there)[0]
        if keys is not None and self.items.plain:
            names = names.filter(pc.is_in(names, self._names(keys)))
        names = pc.unique(names)
        found = {prefix + name for name in self.items.pictures_of(names.to_pylist())}
        return found if keys is None else found.intersection(keys)

    def words(self) -> Iterator[str]:
        if self.items.plain:
            yield from _distinct_texts(self.columns["text"]) if "text" in self.columns else ()
        else:
            yield from (item.text for example in self for item in example.items if item.text is not None)

    def blocks(self) -> Iterator[Block]:
        for start in range(0, len(self), _BLOCK):
            stop = min(start + _BLOCK, len(self))
            yield Block(self[start:stop], self._plain(start))

    def places(self) -> Iterator[tuple[str, int] | None]:
        columns = [self.columns[name] for name in ("reference", "target") if name in self.columns]
        for start in range(0, len(self), _BLOCK):
            for names in zip(*(column.slice(start, _BLOCK).to_pylist() for column in columns), strict=True):
                yield first_place(self.items.item(name).picture for name in names if name is not None)

    def _plain(self, start: int) -> tuple[Any, ...] | None:
        part = {name: column.slice(start, _BLOCK) for name, column in self.columns.items()}
        composed = all(name in part and not part[name].null_count for name in ("reference", "text"))
        if not composed or not self.items.plain or self._groups:
            return None
        reference, target = (self._keys(part[of]) for of in ("reference", "target"))
        labels = target
        if "label" in part:
            labels = pc.if_else(pc.fill_null(pc.equal(part["label"], ""), True), target, part["label"])
        weights = None
        if "weight" in part:
            weights = [1.0 if weight is None else weight for weight in part["weight"].to_pylist()]
        more: list[list[Any]] | None = None
        for column, kind in (("positives", "positive"), ("negatives", "candidate")):
            if column in part:
                more = more or [[] for _ in range(len(target))]
                for row, names in enumerate(part[column].to_pylist()):
                    keys = [self.items.prefix + name for name in names or ()]
                    more[row] += [
                        [k, labels[row].as_py() if kind == "positive" else k, kind, "batch"] for k in keys
                    ]
        return part["id"], reference, part["text"], target, labels, more, weights

    def _keys(self, names: Any) -> Any:
        return pc.binary_join_element_wise(pa.scalar(self.items.prefix, _TEXT), names, pa.scalar("", _TEXT))

    def without(self, gone: frozenset[str]) -> ExampleTable:
        prefix = self.items.prefix
        names = self._distinct(*_SHOWN).to_pylist()
        lost = pa.array(
            [n for n in names if any(prefix + p in gone for p in self.items.pictures_of([n]))], _TEXT
        )
        keep = pc.invert(pc.is_in(self.columns["target"], lost))
        if "reference" in self.columns:
            keep = pc.and_(keep, pc.invert(pc.is_in(self.columns["reference"], lost)))
        kept = {name: column.filter(keep) for name, column in self.columns.items()}
        left = set(lost.to_pylist())
        for name in ("positives", "negatives"):
            if name in kept:
                cells = [c and [one for one in c if one not in left] for c in kept[name].to_pylist()]
                kept[name] = pa.array(cells, _LIST)
        return ExampleTable(self.domain, kept, self.items)

    def _names(self, keys: Collection[str]) -> Any:
        prefix = self.items.prefix
        return pa.array([key.removeprefix(prefix) for key in keys if key.startswith(prefix)], _TEXT)

    def _distinct(self, *names: str) -> Any:
        """The distinct entries of these columns, row by row."""
        there = [self.columns[name] for name in names if name in self.columns]
        return distinct(there) if there else pa.array([], _TEXT)


def _distinct_texts(column: Any) -> Iterator[str]:
    texts = pc.drop_null(pc.unique(column))
    for start in range(0, len(texts), _BLOCK):
        yield from texts.slice(start, _BLOCK).to_pylist()
