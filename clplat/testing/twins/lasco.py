"""A small LaSCo: drawn pictures and annotations in the official layout."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["lasco"]


def lasco(folder: Path, pictures: int = 24, queries: int = 10, seed: int = 0) -> Path:
    """Write the queries of ``train`` and ``val``, the corpus of ``val``, ``train2014`` and ``val2014``.

    As in the published files, paths of the corpus begin with ``val/``, those of queries do not.

    Args:
        folder: what they are written to.
        pictures: of each split.
        queries: of each split.
        seed: of the colours and shapes, and of who leads to whom.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> sorted(path.name for path in lasco(Path(mkdtemp())).iterdir())[:2]
        ['lasco_train.json', 'lasco_val.json']
    """
    draw = random.Random(seed)
    for start, split in ((0, "train"), (pictures, "val")):
        looks: dict[int, tuple[str, str]] = {}
        paths = {}
        for number in range(start, start + pictures):
            looks[number] = draw.choice(COLOURS), draw.choice(SHAPES)
            paths[number] = f"{split}2014/COCO_{split}2014_{number:012d}.jpg"
            put(folder / paths[number], *looks[number])
        entries: list[dict[str, Any]] = []
        for query in range(queries):
            one, other = draw.sample(sorted(looks), 2)
            entries.append(
                {
                    "qid": 1000 * start + query,
                    "query-image": [one, paths[one]],
                    "query-text": "a {} {}".format(*looks[other]),
                    "target-image": [other, paths[other]],
                }
            )
        (folder / f"lasco_{split}.json").write_text(json.dumps(entries))
        if split == "val":
            corpus = [{"id": number, "path": f"val/{path}"} for number, path in paths.items()]
            (folder / "lasco_val_corpus.json").write_text(json.dumps(corpus))
    return folder
