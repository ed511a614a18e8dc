"""A small FashionIQ: drawn pictures and annotations in the official layout."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["fashioniq"]

_COUNTS = {"train": 12, "val": 6, "test": 4}


def fashioniq(folder: Path, gallery: int = 16, seed: int = 0) -> Path:
    """Write ``captions``, ``image_splits`` and ``images`` of the three categories.

    Two captions name the colour and the shape of the target. The endings of pictures vary, as they do in
    copies of the benchmark, and one training picture of toptee stands in the gallery of shirt.

    Args:
        folder: what the three folders are written to.
        gallery: pictures of each split of a category.
        seed: of the colours and shapes, and of who leads to whom.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> sorted(path.name for path in fashioniq(Path(mkdtemp())).iterdir())
        ['captions', 'image_splits', 'images']
    """
    draw = random.Random(seed)
    names: dict[str, list[str]] = {}
    for category, ground in (("dress", "white"), ("shirt", "lightgrey"), ("toptee", "beige")):
        for split, count in _COUNTS.items():
            looks = {}
            for i in range(gallery):
                name = f"B{category[0].upper()}{split[:2].upper()}{i:05d}"
                looks[name] = draw.choice(COLOURS), draw.choice(SHAPES)
                ending = ("jpg", "png", "jpeg", "JPG")[i % 4]
                put(folder / "images" / f"{name}.{ending}", *looks[name], ground=ground)
            asked = [_entry(looks, draw, with_target=split != "test") for _ in range(count)]
            names[f"{category}.{split}"] = list(looks)
            _write(folder / "captions" / f"cap.{category}.{split}.json", asked)
    names["shirt.val"].append(names["toptee.train"][0])
    for which, held in names.items():
        _write(folder / "image_splits" / f"split.{which}.json", held)
    return folder


def _entry(looks: dict[str, tuple[str, str]], draw: random.Random, with_target: bool) -> dict[str, Any]:
    candidate, target = draw.sample(sorted(looks), 2)
    colour, shape = looks[target]
    entry: dict[str, Any] = {"candidate": candidate, "captions": [f"is {colour}.", f"has a {shape} on it"]}
    return {"target": target, **entry} if with_target else entry


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
