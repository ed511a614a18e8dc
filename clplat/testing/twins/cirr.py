"""A small CIRR: drawn pictures and annotations in the official layout."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["cirr"]

_SPLITS = {"train": "train/7", "val": "dev", "test1": "test1"}


def cirr(folder: Path, groups: int = 10, queries: int = 14, seed: int = 0) -> Path:
    """Write ``cirr/captions``, ``cirr/image_splits`` and pictures in ``train``, ``dev`` and ``test1``.

    Pictures come in groups of six, which say the candidates of ``R_sub``; captions name the target's colour
    and shape. ``test1`` has no targets, and its last group is never asked with.

    Args:
        folder: what all is written to.
        groups: of six pictures, in each split.
        queries: in each split.
        seed: of the looks of pictures, and of who leads to whom.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> sorted(path.name for path in cirr(Path(mkdtemp())).iterdir())
        ['cirr', 'dev', 'test1', 'train']
    """
    draw = random.Random(seed)
    for split, place in _SPLITS.items():
        prefix = place.partition("/")[0]
        looks = {
            f"{prefix}-{group}-{i % 4}-img{i % 2 + 2 * (i // 4)}": (draw.choice(COLOURS), draw.choice(SHAPES))
            for group in range(groups)
            for i in range(6)
        }
        for name, look in looks.items():
            put(folder / place / f"{name}.png", *look)
        asked = [_entry(i, looks, groups - (split == "test1"), draw) for i in range(queries)]
        if split == "test1":
            asked = [_hidden(entry) for entry in asked]
        named = {name: f"./{place}/{name}.png" for name in looks}
        for path, content in (
            (f"captions/cap.rc2.{split}.json", asked),
            (f"image_splits/split.rc2.{split}.json", named),
        ):
            (folder / "cirr" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "cirr" / path).write_text(json.dumps(content))
    return folder


def _entry(i: int, looks: dict[str, tuple[str, str]], groups: int, draw: random.Random) -> dict[str, Any]:
    group = draw.randrange(groups)
    members = list(looks)[6 * group : 6 * group + 6]
    draw.shuffle(members)
    reference, target, near = draw.sample(members, 3)
    colour, shape = looks[target]
    return {
        "pairid": 3 * i + 12,
        "reference": reference,
        "target_hard": target,
        "target_soft": {target: 1.0, near: 0.5},
        "caption": f"show a {colour} {shape} instead",
        "img_set": {"id": group, "members": members, "reference_rank": 3, "target_rank": 0},
    }


def _hidden(entry: dict[str, Any]) -> dict[str, Any]:
    shown = {key: entry[key] for key in ("pairid", "reference", "caption")}
    return {**shown, "img_set": {k: v for k, v in entry["img_set"].items() if k != "target_rank"}}
