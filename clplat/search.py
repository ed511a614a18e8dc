"""Search a gallery with a trained run: a picture plus a change in words, or one of the two -> the nearest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from clplat.data.decoding import open_picture
from clplat.data.inputs import Texts
from clplat.data.records import Item, Picture
from clplat.errors import UserError, unknown_name
from clplat.evaluation.comparing import compared_by
from clplat.evaluation.index import KINDS, Index, build_index
from clplat.models.frozen import weights_fixed
from clplat.randomness import generator
from clplat.retrieval_grid import draw_grid
from clplat.runs.assembly import assemble
from clplat.runs.load import config_of, put_version, version_file

#: Gallery pictures that an index looks up again to measure its recall.
SAMPLE = 256


@dataclass(frozen=True)
class Found:
    """The k nearest items of a gallery, best first, with their scores: cosines, unless a scorer has others.

    ``recall`` is the share of the exact k nearest that the index found for a sample of the gallery's own
    pictures; None where the search was exact.
    """

    reference: Picture | None
    text: str | None
    items: list[Item]
    scores: list[float]
    gallery: str
    recall: float | None = None

    @cached_property
    def grid(self) -> Image.Image:
        """The query and what was found, as a picture."""
        shown: list[tuple[Picture | Item, bool | None]] = [(item, None) for item in self.items]
        return draw_grid([(self.gallery, self.reference, self.text or "", shown)])

    @property
    def pictures(self) -> list[Picture]:
        """The pictures of those that have one."""
        return [item.picture for item in self.items if item.picture is not None]


def gallery_of(folder: Path, domain: str | None = None) -> list[tuple[str, str]]:
    """Key and words of every item that `Searcher` searches, by key; UserError for an unknown domain."""
    config = config_of(folder)
    sets = {one.name: one.sets[config.evaluation.split] for one in config.make("scenario").build()[0]}
    if domain is not None and domain not in sets:
        raise unknown_name("domain", domain, sets)
    items = [item for name, held in sets.items() if domain in (None, name) for item in held.gallery.items]
    return sorted({i.key: (i.picture.caption if i.picture else i.text) or "" for i in items}.items())


class Searcher:
    """A version of a run's model, ready for any number of queries; each gallery is embedded once.

    Args:
        folder: of a run with at least one finished version, or of a model that was logged from one.
        version: experiences trained; by default the newest.

    Raises:
        UserError: no version, or not this one; data or weights that are gone.

    Example:
        >>> searcher = Searcher(Path("runs/first/replay-s0"))  # doctest: +SKIP
        >>> searcher.find("bag.jpg", "in red", k=3).pictures[0].key  # doctest: +SKIP
        'bag-dark/gallery/17'
    """

    def __init__(self, folder: Path, *, version: int | None = None) -> None:
        path, config = version_file(folder, version), config_of(folder)
        self.seed = config.seed
        self.parts = assemble(config)
        put_version(path, config, self.parts.retriever)
        sets = self.parts.evaluator.sets
        entries = [item for held in sets for item in held.gallery.items]
        self._pictures = {p.key: p for p in (item.picture for item in entries) if p is not None}
        self._galleries: dict[str | None, list[Item]] = {}
        self._held, *_ = compared_by(self.parts.retriever).values()
        self._indexes: dict[tuple[str | None, str], Index] = {}

    @property
    def domains(self) -> list[str]:
        """The names of the stream's domains, each with a gallery."""
        return list(self.parts.evaluator.names)

    def find(
        self,
        reference: Path | str | None,
        text: str | None,
        *,
        domain: str | None = None,
        k: int = 10,
        index: str = "exact",
    ) -> Found:
        """Rank a test gallery of the run's scenario for one query.

        Args:
            reference: a picture file, or the key of a gallery picture; None to search by words alone.
            text: the change in words; None to search by picture alone.
            domain: the domain of the gallery; by default all galleries of the stream together.
            k: items to return.
            index: how the gallery is searched, see `build_index`.

        Raises:
            UserError: unknown domain or index; unreadable picture; neither a picture nor a text; a text that
                is empty or too long; an index that needs faiss, which is not installed.
        """
        _check_query(reference, text, index)
        if domain is not None and domain not in self.domains:
            raise unknown_name("domain", domain, self.domains)
        retriever = self.parts.retriever
        places = retriever.composer.places if reference is not None else 0
        if text is not None and retriever.backbone.truncated([text], places):
            limit = retriever.backbone.context_length
            raise UserError(f"the text is longer than the backbone's context of {limit} tokens")
        shown = self._reference(reference) if reference is not None else None
        items, _ = self.gallery(domain)
        query = self._held.queries(self._embedded(shown, text))
        own = [i for i, item in enumerate(items) if shown is not None and item.picture == shown]
        k = min(k, len(items))
        engine = self._index(domain, index)
        best = [i for i in engine.search(query, k, [own])[0].tolist() if i >= 0]
        recall = None
        if index != "exact":
            draw = torch.randperm(len(items), generator=generator(self.seed, "recall"))[:SAMPLE]
            recall = engine.recall(engine.rows[draw], k)
        scores = engine.scores(query, best)
        return Found(shown, text, [items[i] for i in best], scores, domain or "all domains", recall)

    def _embedded(self, shown: Picture | None, text: str | None) -> Tensor:
        """The query (1, D) of a picture, a text or both."""
        retriever = self.parts.retriever
        with torch.inference_mode(), weights_fixed():
            pixels = self.parts.pixels.get([shown], again=False) if shown is not None else None
            ids = Texts(retriever.backbone.tokenize([text or ""]), said=[text or ""])
            if pixels is not None and text is not None:
                return retriever.encode_queries(pixels, ids).cpu()
            found = retriever.encode_images(pixels) if pixels is not None else retriever.encode_texts(ids)
            return found.cpu()

    def gallery(self, domain: str | None = None) -> tuple[list[Item], Tensor]:
        """Items of a domain's gallery, or of all, and what is stored of each (G, ...); on the CPU."""
        if domain not in self._galleries:
            evaluator = self.parts.evaluator
            sets = zip(evaluator.names, evaluator.sets, strict=True)
            chosen = [item for name, one in sets if domain in (None, name) for item in one.gallery.items]
            items = list({item.key: item for item in chosen}.values())
            with weights_fixed():  # the next search finds the gallery embedded
                rows = evaluator.embed.items(self.parts.retriever, items)
            self._held.take(str(domain), rows)
            self._galleries[domain] = items
            if self.parts.cache is not None:
                self.parts.cache.store.flush()
        return self._galleries[domain], self._held.stored[str(domain)]

    def _index(self, domain: str | None, kind: str) -> Index:
        if (domain, kind) not in self._indexes:
            self.gallery(domain)
            self._indexes[domain, kind] = build_index(self._held.gallery(str(domain)), kind, self.seed)
        return self._indexes[domain, kind]

    def _reference(self, reference: Path | str) -> Picture:
        if str(reference) in self._pictures:
            return self._pictures[str(reference)]
        if not Path(reference).is_file():
            raise UserError(f"'{reference}' is neither a picture file nor the key of a gallery picture")
        picture = open_picture(Path(reference))
        # What is computed from a picture is kept under its key; another picture may lie at this path later.
        content = hashlib.blake2b(Path(reference).read_bytes(), digest_size=16).hexdigest()
        return Picture(f"file/{content}", lambda: picture)


def _check_query(reference: Path | str | None, text: str | None, index: str) -> None:
    if reference is None and text is None:
        raise UserError("there is nothing to search by: give a reference picture, a text, or both")
    if text is not None and not text.strip():
        raise UserError("the text is empty: say what should change")
    if index not in KINDS:
        raise unknown_name("index", index, KINDS)


def search(
    folder: Path,
    reference: Path | str | None,
    text: str | None,
    *,
    domain: str | None = None,
    k: int = 10,
    version: int | None = None,
    index: str = "exact",
) -> Found:
    """One query to a run: `Searcher` and its `find`; several queries go faster through those.

    Raises:
        UserError: as they do.
    """
    _check_query(reference, text, index)  # before the seconds that loading takes
    return Searcher(folder, version=version).find(reference, text, domain=domain, k=k, index=index)
