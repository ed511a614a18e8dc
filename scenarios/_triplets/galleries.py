"""What queries are ranked against: all that they refer to, or a table or a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from clplat.data.folders import stable_hash
from clplat.data.named_items import NamedItems
from clplat.data.records import Gallery
from clplat.data.sources.opened import open_table
from clplat.data.tar_pictures import ENDINGS
from clplat.errors import UserError, unknown_name

from .cells import texts
from .splitting import with_split

__all__ = ["OwnGallery", "named_gallery", "own_gallery"]

_ROLES = {
    "name": ("name", "id", "item", "key"),
    "picture": ("picture", "image", "path", "file"),
    "text": ("text", "caption", "title"),
    "split": ("split",),
    "domain": ("domain",),
}


@dataclass(frozen=True)
class OwnGallery:
    """The items of a gallery that was given.

    Args:
        held: name -> name of its picture or None, its text or None.
        split: name -> the one split whose gallery it is in; others are in all.
        domain: name -> the one domain whose gallery it is in; others are in all.
    """

    held: dict[str, tuple[str | None, str | None]]
    split: dict[str, str] = field(default_factory=dict)
    domain: dict[str, str] = field(default_factory=dict)

    def names(self, domain: str, split: str) -> list[str]:
        """The items of one gallery."""
        return [
            name
            for name in self.held
            if self.split.get(name, split) == split and self.domain.get(name, domain) == domain
        ]


def own_gallery(path: str, root: Path | None) -> OwnGallery:
    """Read a folder of pictures, or a table of items.

    Args:
        path: a folder, whose pictures are items named by their paths from ``root``; or a table with columns
            ``name`` or ``picture``, and optionally ``text``, ``split`` and ``domain``.
        root: the folder that names of pictures are relative to.

    Raises:
        UserError: nothing there, a name twice, an item of nothing.
    """
    place = Path(path).expanduser()
    if (
        place.is_dir()
        and not any(place.glob("*.tar"))
        and not any(place.rglob("*.parquet"))
        and not ((place / "dataset_info.json").exists() or (place / "dataset_dict.json").exists())
    ):
        return OwnGallery({name: (name, None) for name in _pictures_below(place, root)})
    source = open_table(place)
    small = {name.lower(): name for name in reversed(source.names)}
    chosen = {
        role: small[guess]
        for role, guesses in _ROLES.items()
        for guess in reversed(guesses)
        if guess in small
    }
    if not {"name", "picture"} & chosen.keys():
        raise unknown_name(f"kind of gallery {place.name}: it names no item; column", "", _ROLES["name"])
    table = source.read(list(chosen.values()))
    rows = pa.table({role: texts(table.column(name), name, str(place)) for role, name in chosen.items()})
    if "split" in rows.column_names and not rows.column("split").null_count:
        rows = with_split(rows, None, str(place))[0]
    return _items(rows, place)


def _items(rows: pa.Table, place: Path) -> OwnGallery:
    by = "name" if "name" in rows.column_names else "picture"
    names = rows.column(by).to_pylist()
    empty = [None] * len(names)
    columns = {role: rows.column(role).to_pylist() if role in rows.column_names else empty for role in _ROLES}
    alone = not {"picture", "text"} & set(rows.column_names)
    held: dict[str, tuple[str | None, str | None]] = {}
    for row, name in enumerate(names):
        if name is None or name in held:
            what = f"'{name}' again" if name else f"no {by}"
            raise UserError(f"{place}, row {row + 1}: {what}; each item has a name of its own")
        picture, text = columns["picture"][row], columns["text"][row]
        if alone:
            picture = name
        if picture is None and text is None:
            raise UserError(f"{place}, row {row + 1}: item '{name}' has neither a picture nor a text")
        held[name] = (picture, text)
    found = {
        role: {name: one for name, one in zip(names, columns[role], strict=True) if one is not None}
        for role in ("split", "domain")
    }
    return OwnGallery(held, **found)


def _pictures_below(folder: Path, root: Path | None) -> list[str]:
    if root is None or not folder.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"gallery folder {folder} must lie below the folder of pictures (--scenario.pictures), {root}"
        )
    found = [
        os.path.relpath(os.path.join(above, name), root.resolve()).replace(os.sep, "/")
        for above, _, names in os.walk(folder.resolve())
        for name in names
        if os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith(".")
    ]
    if not found:
        raise UserError(f"there are no pictures below gallery folder {folder}")
    return sorted(found)


def named_gallery(name: str, names: Iterable[str], items: NamedItems) -> Gallery:
    """A gallery of these items, which it is named after."""
    there = list(dict.fromkeys(names))
    return Gallery(f"{name}@{stable_hash(*there):016x}", [items.item(one) for one in there])
