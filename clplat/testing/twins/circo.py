"""A small CIRCO: drawn pictures, COCO's list of them, and annotations in the official layout."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["circo"]

_ASPECTS = ("cardinality", "addition", "negation", "viewpoint")


def circo(folder: Path, pictures: int = 60, queries: int = 8, seed: int = 0) -> Path:
    """Write ``annotations`` and ``COCO2017_unlabeled`` with a list of pictures and the pictures themselves.

    Every picture of the wanted colour and shape is a right answer; those of ``test`` are hidden.

    Args:
        folder: what all is written to.
        pictures: in the gallery.
        queries: of val and of test.
        seed: of the looks of pictures, and of the queries.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> sorted(path.name for path in circo(Path(mkdtemp())).iterdir())
        ['COCO2017_unlabeled', 'annotations']
    """
    draw = random.Random(seed)
    looks = {17 * i + 8: (draw.choice(COLOURS[:4]), draw.choice(SHAPES[:3])) for i in range(pictures)}
    coco = folder / "COCO2017_unlabeled"
    for number, look in looks.items():
        put(coco / "unlabeled2017" / f"{number:012d}.jpg", *look)
    listed = [{"id": n, "file_name": f"{n:012d}.jpg", "height": 32, "width": 32} for n in looks]
    _write(coco / "annotations" / "image_info_unlabeled2017.json", {"info": {}, "images": listed})
    _write(folder / "annotations" / "val.json", [_entry(i, looks, draw) for i in range(queries)])
    hidden = ("target_img_id", "gt_img_ids", "semantic_aspects")
    test = [_entry(i, looks, draw) for i in range(queries)]
    test = [{key: value for key, value in entry.items() if key not in hidden} for entry in test]
    _write(folder / "annotations" / "test.json", test)
    return folder


def _entry(i: int, looks: dict[int, tuple[str, str]], draw: random.Random) -> dict[str, Any]:
    reference, target = draw.sample(sorted(looks), 2)
    alike = [n for n, look in looks.items() if look == looks[target] and n not in (reference, target)]
    return {
        "reference_img_id": reference,
        "target_img_id": target,
        "relative_caption": "shows a {} {}".format(*looks[target]),
        "shared_concept": "a drawing",
        "gt_img_ids": [target, *alike],
        "id": i,
        "semantic_aspects": draw.sample(_ASPECTS, 2),
    }


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
