"""A small Shoes: drawn pictures and annotations in the official layout."""

from __future__ import annotations

import json
import random
from pathlib import Path

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["shoes"]

_KINDS = ("clogs", "athletic_shoes", "rain_boots")


def shoes(folder: Path, pictures: int = 24, queries: int = 10, seed: int = 0) -> Path:
    """Write ``relative_captions_shoes.json``, the two lists of names, and folders of pictures.

    Args:
        folder: what they are written to.
        pictures: of each of the two lists.
        queries: of each of the two lists.
        seed: of the colours and shapes, and of who leads to whom.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> len(list(shoes(Path(mkdtemp())).glob("womens_*/*/*.jpg")))
        48
    """
    draw, entries = random.Random(seed), []
    for first, name in ((0, "train_im_names.txt"), (pictures, "eval_im_names.txt")):
        looks = {}
        for i in range(first, first + pictures):
            kind = _KINDS[i % len(_KINDS)]
            file = f"img_womens_{kind}_{i}.jpg"
            looks[file] = draw.choice(COLOURS), draw.choice(SHAPES)
            put(folder / f"womens_{kind}" / str(i % 2) / file, *looks[file])
        (folder / name).write_text("".join(f"{file}\n" for file in looks))
        for _ in range(queries):
            reference, target = draw.sample(sorted(looks), 2)
            said = "is {} and has a {} ".format(*looks[target])
            entries.append({"ImageName": target, "ReferenceImageName": reference, "RelativeCaption": said})
    draw.shuffle(entries)
    (folder / "relative_captions_shoes.json").write_text(json.dumps(entries))
    return folder
