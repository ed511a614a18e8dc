"""Any tree of pictures ``<root>/<domain>/<class>/*.jpg``: read, checked and split by the files' own names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clplat.data.decoding import content_digest, decode, picture_file
from clplat.data.records import Picture
from clplat.errors import UserError, nearest, unknown_name

SPLITS = ("train", "val", "test")  # 60, 15 and 25 % of the pictures
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_LAYOUT = "expected <root>/<domain>/<class>/*.jpg (or jpeg, png, webp, bmp)"


def stable_hash(*parts: object) -> int:
    """A 64-bit number from the texts of ``parts``: the same in every process and on every machine."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "big")


def split_of(relative: str) -> str:
    """The split of a picture, from its relative path alone, so that other files never move it.

    Example:
        >>> split_of("photo/dog/056_0001.jpg") == split_of("photo/dog/056_0001.jpg")
        True
    """
    place = stable_hash("split", relative) / 2**64
    return "train" if place < 0.60 else "val" if place < 0.75 else "test"


def to_words(name: str) -> str:
    """A folder's name as words: ``art_painting`` -> "art painting", ``003.backpack`` -> "backpack"."""
    bare = re.sub(r"^\d+[._ -]+(?=.)", "", name)
    return " ".join(re.sub(r"[_\-.]+", " ", bare).lower().split()) or name


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun, by sound as far as spelling shows it: "an hour", "a unicorn"."""
    first = noun.lower()
    consonant = re.match(r"uni(?!n|m)|u[kst][aeiu]|eu|ewe|one\b|once", first)
    silent = re.match(r"hour|heir|honest|honou?r", first)
    return f"{'an' if silent or (first[:1] in set('aeiou') and not consonant) else 'a'} {noun}"


@dataclass(frozen=True)
class FolderTree:
    """The pictures of a tree by (domain, class, split), each cell in the order of the paths.

    A picture's key is its relative path and a digest of its content: a tree with other pictures under the
    same names never meets the cached features of this one. ``copies`` says how many files repeat the content
    of another one, and which of the val and test pictures are training pictures under another name.
    """

    root: Path
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], tuple[Picture, ...]] = field(repr=False)
    dropped: tuple[str, ...] = ()
    copies: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()  # domains on disk that nobody asked for

    def pictures(self, domain: str, category: str, split: str) -> tuple[Picture, ...]:
        """The pictures of one cell; empty where the domain has no such class or the split none of it."""
        return self.cells.get((domain, category, split), ())

    @property
    def report(self) -> dict[str, Any]:
        """What was read and what was left out: plain values for a log."""
        counts = {domain: dict.fromkeys(SPLITS, 0) for domain in self.domains}
        for (domain, _, split), pictures in self.cells.items():
            counts[domain][split] += len(pictures)
        bad = {"count": len(self.dropped), "files": list(self.dropped)}
        left_out = {"left_out": list(self.left_out)} if self.left_out else {}
        return {
            "root": str(self.root),
            "pictures": counts,
            "dropped": bad,
            "copies": dict(self.copies),
            **left_out,
        }

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the pictures, a line each."""
        again = self.copies.get("trained_on", ())
        held = sum(len(cell) for (_, _, split), cell in self.cells.items() if split != "train")
        first = ", ".join(again[:3]) + (", ..." if len(again) > 3 else "")
        what = f"of {held} pictures for val and test in {self.root} are training pictures under another name"
        said = [f"{len(again)} {what}: {first}"] if again else []
        if self.dropped:
            first = ", ".join(self.dropped[:3]) + (", ..." if len(self.dropped) > 3 else "")
            said.append(
                f"{len(self.dropped)} pictures in {self.root} cannot be read and are left out: {first}"
            )
        if self.left_out:
            said.append(f"order leaves out what is in {self.root} too: {', '.join(self.left_out)}")
        return said


def existing(root: str | Path) -> Path:
    """The root of a tree; UserError where there is no such folder."""
    base = Path(root).expanduser()
    if not base.is_dir():
        siblings = [path.name for path in base.parent.iterdir()] if base.parent.is_dir() else []
        raise UserError(f"no such folder: {base}{nearest(base.name, siblings)}; {_LAYOUT}")
    return base


def read_folders(
    root: str | Path,
    domains: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    bad_pictures: Literal["refuse", "drop"] = "refuse",
    copies: Literal["report", "refuse"] = "report",
) -> FolderTree:
    """Read a tree of pictures. Every file is decoded once now, to check it, and again when it is needed.

    Args:
        root: folder of domain folders of class folders of pictures. Names that begin with "." or "__" are
            skipped, as are files of other types.
        domains: the domains to read; by default all.
        classes: the classes to read; by default all. A domain need not have every class.
        bad_pictures: what to do with files that cannot be read: refuse the tree, or leave them out.
        copies: what to do with training pictures that stand among those of val and test under another name:
            say so, or refuse the tree.

    Raises:
        UserError: the root, a domain, a class or a picture is missing, empty or broken.
    """
    if bad_pictures not in ("refuse", "drop"):
        raise unknown_name("value of bad_pictures", bad_pictures, ("refuse", "drop"))
    if copies not in ("report", "refuse"):
        raise unknown_name("value of copies", copies, ("report", "refuse"))
    base = existing(root)
    found: dict[tuple[str, str], list[str]] = {}
    for domain in _chosen("domain", domains, base):
        for category in _chosen("class", None, base / domain):
            if classes is None or category in classes:
                found[domain, category] = names = _names(base / domain / category, False)
                if not names:
                    raise UserError(f"no pictures in {base / domain / category}; {_LAYOUT}")
    known = {category for _, category in found}
    for category in classes or ():
        if category not in known:
            every = {name for domain in _names(base, True) for name in _names(base / domain, True)}
            raise unknown_name("class", category, every)
    for domain in domains or ():
        if all(domain != other for other, _ in found):
            raise UserError(f"domain '{domain}' in {base} has none of the classes {', '.join(classes or ())}")
    if len(known) < 2:
        raise UserError(f"{base} has the single class '{next(iter(known), '')}'; at least two are needed")
    left_out = () if domains is None else tuple(name for name in _names(base, True) if name not in domains)
    tree = replace(_checked(base, found, bad_pictures), left_out=left_out)
    if copies == "refuse" and tree.copies.get("trained_on"):
        raise UserError(f"{tree.remarks[0]}; remove one of each, or choose --scenario.copies report")
    return tree


def _names(folder: Path, folders: bool) -> list[str]:
    """The visible folders, or the picture files, in a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith((".", "__"))]
            if folders:
                return sorted(e.name for e in visible if os.path.isdir(e.path))
            # A link to nothing is a picture that cannot be read.
            files = (e for e in visible if e.is_symlink() or e.is_file())
            suffix = {e.name: os.path.splitext(e.name)[1].lower() for e in files if not os.path.isdir(e.path)}
            return sorted(name for name in suffix if suffix[name] in _SUFFIXES)
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}") from error


def _chosen(kind: str, wanted: Sequence[str] | None, folder: Path) -> list[str]:
    """The sub-folders of ``folder``, or those wanted, all of which must be there."""
    names = _names(folder, True)
    if not names:
        raise UserError(f"no {kind} folders in {folder}; {_LAYOUT}")
    for name in wanted or ():
        if name not in names:
            raise unknown_name(kind, name, names)
    return names if wanted is None else sorted(set(wanted))


def _checked(base: Path, found: Mapping[tuple[str, str], list[str]], policy: str) -> FolderTree:
    cells: dict[tuple[str, str, str], list[Picture]] = {}
    bad: list[str] = []
    contents: dict[str, list[str]] = {}
    for (domain, category), names in found.items():
        before = len(bad)
        paths = [base / domain / category / name for name in names]
        for name, path, content in zip(names, paths, map(_read, paths), strict=True):
            relative = f"{domain}/{category}/{name}"
            if content is None:
                bad.append(relative)
                continue
            contents.setdefault(hashlib.blake2b(content, digest_size=16).hexdigest(), []).append(relative)
            picture = picture_file(relative, path, content_digest(content))
            cells.setdefault((domain, category, split_of(relative)), []).append(picture)
        if policy == "drop" and len(bad) - before == len(names):
            raise UserError(f"none of the {len(names)} pictures in {base / domain / category} can be read")
    if bad and policy == "refuse":
        total = sum(map(len, found.values()))
        first = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise UserError(
            f"{len(bad)} of {total} pictures in {base} cannot be read: {first}; "
            "repair or remove them, or leave them out with --scenario.bad_pictures drop"
        )
    names_of = [tuple(sorted(set(column))) for column in zip(*found, strict=True)]
    frozen = {cell: tuple(pictures) for cell, pictures in cells.items()}
    return FolderTree(base, names_of[0], names_of[1], frozen, tuple(bad), _copies(contents))


def _read(path: Path) -> bytes | None:
    """The content of a picture's file, or None where it cannot be decoded whole."""
    try:
        content = path.read_bytes()
        decode(content)
    except Exception:  # codecs raise whatever they like
        return None
    return content


def _copies(contents: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Files of equal content: how many, and those whose copies were trained on."""
    several = [sorted(paths) for paths in contents.values() if len(paths) > 1]
    seen = [
        path
        for paths in several
        if any(split_of(other) == "train" for other in paths)
        for path in paths
        if split_of(path) != "train"
    ]
    return {"count": sum(len(paths) - 1 for paths in several), "trained_on": sorted(seen)}
