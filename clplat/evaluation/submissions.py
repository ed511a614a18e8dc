"""Files for the servers that score hidden test sets, written from kept lists and checked before they leave.

CIRCO takes one file, ``{"<query id>": [50 picture ids], ...}``. CIRR takes two,
``{"version": "rc2", "metric": "recall", "<pair id>": [50 names], ...}`` and the three best of the query's own
group as ``recall_subset``. A table of one's own (`clplat.scenarios.Triplets`) gives one file: the ids of its
rows, and for each the names of the best 50 in the words of the table.

References:
    Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023, arXiv:2303.15247
    (CIRCO). Liu et al., "Image Retrieval on Real-life Images with Pre-trained Vision-and-Language Models",
    ICCV 2021, arXiv:2108.04024 (CIRR).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.data.records import RetrievalSet
from clplat.errors import UserError, unknown_name
from clplat.evaluation.lists import Lists
from clplat.files import write_text

__all__ = ["FORMATS", "File", "Format", "check", "contents", "write"]


@dataclass(frozen=True)
class File:
    """One file of a submission.

    Args:
        name: of the file, without its ending.
        count: names listed for each query.
        own: from the query's own candidates.
        header: keys beside those of queries.
    """

    name: str
    count: int
    own: bool = False
    header: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Format:
    """What a server takes.

    Args:
        files: of a submission.
        numbered: whether the ids of queries are 0, 1, 2, ... without a gap, and pictures have numbers.
        bytes: the largest file.
        plain: lists may be shorter, and pictures are called as their table calls them.
    """

    files: tuple[File, ...]
    numbered: bool = False
    bytes: int = 5_000_000
    plain: bool = False


FORMATS = {
    "circo": Format((File("circo", 50),), numbered=True),
    "triplets": Format((File("triplets", 50),), bytes=1 << 30, plain=True),
    "cirr": Format(
        (
            File("recall", 50, header={"version": "rc2", "metric": "recall"}),
            File("recall_subset", 3, own=True, header={"version": "rc2", "metric": "recall_subset"}),
        )
    ),
}


def contents(held: RetrievalSet, lists: Lists, name: str) -> dict[str, dict[str, Any]]:
    """What goes into each file of a submission.

    A query is called by its ``extra["id"]``, or else its id; a picture by the last part of its key, without
    an ending, or by the number that this is.

    Args:
        held: the queries and their gallery.
        lists: their kept lists.
        name: of the format, a key of `FORMATS`.

    Raises:
        UserError: unknown format; a set that the format cannot hold, see `check`.
    """
    if name not in FORMATS:
        raise unknown_name("format of submissions", name, FORMATS)
    called = [_name(item.key, name) for item in held.gallery.items]
    out: dict[str, dict[str, Any]] = {}
    for file in FORMATS[name].files:
        found = lists.own if file.own else lists
        if found is None:
            raise UserError(f"{file.name} ranks candidates of each query's own, and these queries have none")
        rows = found.rows[:, : file.count].tolist()
        out[file.name] = dict(file.header or {})
        for query, row in zip(held.queries, rows, strict=True):
            out[file.name][str(query.extra.get("id", query.id))] = [called[g] for g in row if g >= 0]
    check(held, out, name)
    return out


def check(held: RetrievalSet, written: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Refuse what the server would refuse, or score as something else.

    Raises:
        UserError: a file, a header or a query is missing or too much; a list of another length, with a name
            twice, with one that is not in the gallery, or with the query's own reference where the protocol
            excludes it; ids that do not count from 0; a file that is too large.
    """
    wanted = FORMATS[name]
    known = {_name(item.key, name) for item in held.gallery.items}
    if len(known) < len(held.gallery.items):
        raise UserError(f"pictures of gallery '{held.gallery.name}' share a name without folder and ending")
    own = {
        str(query.extra.get("id", query.id)): _name(query.reference.key, name)
        for query in held.queries
        if query.reference is not None
    }
    ids = [str(query.extra.get("id", query.id)) for query in held.queries]
    if wanted.numbered and sorted(ids) != sorted(map(str, range(len(ids)))):
        raise UserError(f"{name} numbers its queries from 0 to {len(ids) - 1}; the first here is '{ids[0]}'")
    for file in wanted.files:
        found = dict(written.get(file.name, {}))
        header = {key: found.pop(key, None) for key in file.header or {}}
        if header != dict(file.header or {}) or set(found) != set(ids) or len(set(ids)) < len(ids):
            number = len(ids)
            raise UserError(
                f"{file.name} must have one list for each of the {number} queries, and its header"
            )
        for query, names in found.items():
            enough = bool(names) if wanted.plain else len(names) == file.count
            if not enough or len(set(names)) < len(names):
                raise UserError(f"{file.name}: query '{query}' needs {file.count} different names")
            if strange := [one for one in names if one not in known]:
                raise UserError(
                    f"{file.name}: query '{query}' has '{strange[0]}', which is not in the gallery"
                )
            if held.protocol.exclude_reference and own.get(query) in names:
                raise UserError(f"{file.name}: query '{query}' has its own reference '{own[query]}'")
        if len(_text(written[file.name])) > wanted.bytes:
            raise UserError(f"{file.name} is larger than {wanted.bytes:,} bytes")


def _name(key: str, format: str) -> str | int:
    if FORMATS[format].plain:
        return key.partition("/")[2]
    name = Path(key).name.partition(".")[0]
    return int(name) if FORMATS[format].numbered and name.isdigit() else name


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))  # the servers count bytes


def write(folder: Path, held: RetrievalSet, lists: Lists, name: str) -> list[Path]:
    """Write the files of a submission into a folder, each at once; return their paths.

    Raises:
        UserError: as `contents`.
    """
    paths = []
    for file, content in contents(held, lists, name).items():
        paths.append(folder / f"{file}.json")
        write_text(paths[-1], _text(content))
    return paths
