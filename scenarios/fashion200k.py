"""Fashion200k: product pictures whose captions differ in one word."""

from __future__ import annotations

import random
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Literal

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Example, Gallery, Picture, Protocol, Query, RetrievalSet, Triplet
from clplat.errors import UserError
from clplat.randomness import derive

from ._cir import Benchmark, Read, existing_file, finished
from ._word_swaps import as_caption, children, swap

__all__ = ["Fashion200k"]


class Fashion200k(Benchmark):
    """Categories (dress, jacket, pants, skirt, top) as domains, or one domain.

    A query is a picture and "replace X with Y"; every test picture with the caption of the target is a right
    answer, the reference is none. R@1, R@5, R@10, R@50, R@100. Training triplets lead from a picture to one
    whose caption differs in a word.

    Args:
        root: the folder with ``labels/*_{train,test}_detect_all.txt``, ``test_queries.txt`` and ``women``.
        domains: ``"categories"``: one for each file of labels; ``"one"``.
        gallery: ``"all"``: all test pictures, as papers report; ``"category"``: those of the domain.
        train: training triplets, drawn; with categories of each.
        missing: pictures that are not there are refused, or left out and declared.
        seed: of the training triplets.

    Reference:
        Han et al., "Automatic Spatially-aware Fashion Concept Discovery", ICCV 2017, arXiv:1708.01311; the
        task of Vo et al., "Composing Text and Image for Image Retrieval", CVPR 2019, arXiv:1812.07119, as in
        google/tirg at 0ad2fd9.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import fashion200k
        >>> stream = Fashion200k(str(fashion200k(Path(mkdtemp()))), train=20)
        >>> [domain.name for domain in stream.build()[0]]
        ['dress', 'skirt']
    """

    published = {"test/queries": 33480}  # noqa: RUF012 - of the published file of queries

    def __init__(
        self,
        root: str,
        domains: Literal["categories", "one"] = "categories",
        gallery: Literal["all", "category"] = "all",
        train: int = 5000,
        missing: MissingPictures = "refuse",
        seed: int | None = None,
    ) -> None:
        if train < 1:
            raise ValueError(f"train must be at least 1, not {train}")
        if domains == "one" and gallery == "category":
            raise ValueError("a single domain has a single gallery; choose gallery 'all'")
        self.root, self.domains, self.gallery = root, domains, gallery
        self.train, self.missing, self.seed = train, missing, seed

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(self.root, "fashion200k")

    @cached_property
    def _read(self) -> Read:
        files = PictureFiles(self.root, "fashion200k")
        learnt, asked = (_labels(files, split) for split in ("train", "test"))
        queries = self._queries(files.root, asked)
        names = list(asked) if self.domains == "categories" else ["fashion200k"]
        whole = Gallery("fashion200k-test", [p for held in asked.values() for p in held.values()])
        domains = []
        for name in names:
            mine = queries if self.domains == "one" else [q for q in queries if q.tags["category"] == name]
            if not mine:
                raise UserError(f"{files.root / 'test_queries.txt'} has no query of category '{name}'")
            gallery = whole
            if self.gallery == "category":
                gallery = Gallery(f"fashion200k-{name}-test", list(asked[name].values()))
            held = learnt if self.domains == "one" else {name: learnt.get(name, {})}
            train = self._triplets(name, [p for each in held.values() for p in each.values()])
            domains.append(Domain(name, train, test=RetrievalSet(tuple(mine), gallery, self._protocol)))
        counts = {
            "train/pictures": sum(map(len, learnt.values())),
            "test/pictures": len(whole.items),
            "test/queries": len(queries),
        }
        return finished(Read(domains, counts, self.published), [files], self.missing, "fashion200k")

    @property
    def _protocol(self) -> Protocol:
        return Protocol(
            f"fashion200k/{self.gallery}-test-pictures",
            exclude_reference=True,
            metrics=tuple(f"R@{k}" for k in (1, 5, 10, 50, 100)),
            primary="R@10",
        )

    def _queries(self, root: Path, asked: dict[str, dict[str, Picture]]) -> list[Query]:
        path = existing_file(root / "test_queries.txt", "fashion200k")
        of = {name: (picture, category) for category, held in asked.items() for name, picture in held.items()}
        answers: dict[tuple[str, str], list[str]] = defaultdict(list)
        for picture, category in of.values():
            where = category if self.gallery == "category" else ""
            answers[where, picture.caption or ""].append(picture.key)
        queries = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            named = line.split()
            if len(named) != 2 or any(name not in of for name in named):
                strange = next((name for name in named if name not in of), "") if len(named) == 2 else ""
                why = f"'{strange}' is in no file of test labels" if strange else "two paths are expected"
                raise UserError(f"{path}, line {number}: {why}")
            (reference, _), (target, category) = (of[name] for name in named)
            said = swap(reference.caption or "", target.caption or "")
            where = category if self.gallery == "category" else ""
            right = tuple(key for key in answers[where, target.caption or ""] if key != reference.key)
            queries.append(Query(str(number), reference, said, right, {"category": category}))
        return queries

    def _triplets(self, domain: str, pictures: list[Picture]) -> list[Example]:
        """As TIRG draws: a picture, what its caption is without a word, another caption that is the same."""
        draw = random.Random(derive(self.seed or 0, "fashion200k", domain))
        showing: dict[str, list[Picture]] = defaultdict(list)
        for picture in pictures:
            showing[picture.caption or ""].append(picture)
        siblings: dict[str, list[list[str]]] = defaultdict(list)
        for group in children(showing).values():
            if len(group) > 1:
                for caption in group:
                    siblings[caption].append([other for other in group if other != caption])
        able = [picture for picture in pictures if picture.caption in siblings]
        triplets = []
        for number in range(self.train if able else 0):
            reference = draw.choice(able)
            caption = draw.choice(draw.choice(siblings[reference.caption or ""]))
            target, text = draw.choice(showing[caption]), swap(reference.caption or "", caption)
            triplets.append(Triplet(str(number), reference, text, target, caption, domain))
        return triplets


def _labels(files: PictureFiles, split: str) -> dict[str, dict[str, Picture]]:
    """Category -> path -> its picture with its caption; a path that is listed again keeps the first."""
    ending = f"_{split}_detect_all.txt"
    paths = sorted((files.root / "labels").glob(f"*{ending}"))
    if not paths:
        raise UserError(f"there is no file labels/*{ending} in {files.root}")
    found: dict[str, dict[str, Picture]] = {}
    seen: set[str] = set()
    for path in paths:
        held = found.setdefault(path.name.removesuffix(ending), {})
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            cells = line.split("\t")
            if len(cells) < 3 or not cells[2].strip():
                raise UserError(
                    f"{path}, line {number}: it needs a path, a score and a caption, with tabs between"
                )
            if cells[0] not in seen:
                seen.add(cells[0])
                held[cells[0]] = files.picture(cells[0], as_caption(cells[2]))
    return found
