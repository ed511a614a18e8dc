"""LaSCo: pictures of COCO, asked for by another one and a sentence."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Example, Gallery, Picture, Protocol, Query, RetrievalSet, Triplet
from clplat.errors import UserError

from ._cir import Benchmark, Read, finished, read_json

__all__ = ["LaSCo"]

_Named = tuple[str, str]
_Entry = tuple[str, _Named, str, _Named]

_PUBLISHED = {"train/queries": 359268, "val/queries": 30037, "val/gallery": 39826}


class LaSCo(Benchmark):
    """One domain; the validation set is what papers report, so that runs take ``--evaluation.split val``.

    The gallery is the published corpus of 39,826 pictures. R@1, R@5, R@10, R@50. Entries of the corpus are
    joined with queries by id: their paths begin differently.

    Args:
        root: the folder with ``lasco_train.json``, ``lasco_val.json`` and ``lasco_val_corpus.json``.
        images: the folder with COCO's ``train2014`` and ``val2014``; by default the root.
        reference: ``"kept"`` leaves the reference in the gallery, ``"excluded"`` removes it from the ranking.
        train: how many of the training triplets, the first of them; by default all.
        missing: pictures that are not there are refused, or left out and declared.

    Reference:
        Levy et al., "Data Roaming and Quality Assessment for Composed Image Retrieval", AAAI 2024,
        arXiv:2303.09429.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import lasco
        >>> domain = LaSCo(str(lasco(Path(mkdtemp())))).build()[0][0]
        >>> domain.val.protocol.name
        'lasco/reference-kept'
    """

    published = _PUBLISHED

    def __init__(
        self,
        root: str,
        images: str | None = None,
        reference: Literal["kept", "excluded"] = "kept",
        train: int | None = None,
        missing: MissingPictures = "refuse",
    ) -> None:
        if train is not None and train < 0:
            raise ValueError(f"train must be at least 0, not {train}")
        self.root, self.images, self.reference = root, images, reference
        self.train, self.missing = train, missing

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(self.root, "lasco")

    @cached_property
    def _read(self) -> Read:
        self.refuse_missing()
        root = Path(self.root).expanduser()
        files = PictureFiles(self.images or root, "lasco")
        learnt = _entries(root / "lasco_train.json") if self.train != 0 else []
        asked = _entries(root / "lasco_val.json")
        corpus = _corpus(root / "lasco_val_corpus.json")
        items = {number: files.picture(path) for number, path in corpus.items()}
        queries = []
        for query, (reference, path), text, (target, _) in asked:
            if target not in items:
                raise UserError(
                    f"{root / 'lasco_val.json'}: target {target} of query {query} is not in the corpus"
                )
            shown = items.get(reference) or files.picture(path)
            queries.append(Query(query, shown, text, (items[target].key,)))
        train = [_triplet(entry, files) for entry in learnt[: self.train]]
        gallery = Gallery("lasco-val-corpus", list[Picture](items.values()))
        domain = Domain("lasco", train, val=RetrievalSet(tuple(queries), gallery, self._protocol))
        counts = {"train/queries": len(learnt), "val/queries": len(asked), "val/gallery": len(items)}
        published = {name: n for name, n in _PUBLISHED.items() if self.train != 0 or name != "train/queries"}
        return finished(Read([domain], counts, published), [files], self.missing, "lasco")

    @property
    def _protocol(self) -> Protocol:
        return Protocol(
            f"lasco/reference-{self.reference}",
            exclude_reference=self.reference == "excluded",
            metrics=("R@1", "R@5", "R@10", "R@50"),
            primary="R@10",
        )


def _triplet(entry: _Entry, files: PictureFiles) -> Example:
    query, (_, one), text, (_, other) = entry
    target = files.picture(other)
    return Triplet(query, files.picture(one), text, target, target.key, "lasco")


def _entries(path: Path) -> list[_Entry]:
    """Of each query: id, reference, text, target; a picture is its id and its path."""
    found = []
    for number, entry in enumerate(
        read_json(path, list[dict[str, Any]], "list of queries of LaSCo", "lasco")
    ):
        try:
            text = entry["query-text"]
            if not isinstance(text, str):
                raise TypeError("query-text is no text")
            pictures = (_named(entry, "query-image"), _named(entry, "target-image"))
            found.append((str(entry["qid"]), pictures[0], text.strip(), pictures[1]))
        except (KeyError, TypeError, ValueError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{path}, entry {number}: {what}") from None
    return found


def _named(entry: dict[str, Any], which: str) -> _Named:
    """A picture in either form of the files: ``[id, path]``, or two entries."""
    if which not in entry and f"{which}-id" in entry:
        return str(entry[f"{which}-id"]), _below(entry[f"{which}-path"])
    number, path = entry[which]
    return str(number), _below(path)


def _corpus(path: Path) -> dict[str, str]:
    entries = read_json(path, list[dict[str, Any]], "list of pictures of LaSCo", "lasco")
    found: dict[str, str] = {}
    for number, entry in enumerate(entries):
        one, where = entry.get("id", entry.get("image-id")), entry.get("path", entry.get("image-path"))
        if one is None or not isinstance(where, str):
            raise UserError(f"{path}, entry {number}: it needs an id and a path")
        found[str(one)] = _below(where)
    return found


def _below(path: str) -> str:
    """``val/val2014/a.jpg`` and ``val2014/a.jpg`` -> ``val2014/a.jpg``."""
    return "/".join(path.split("/")[-2:])
