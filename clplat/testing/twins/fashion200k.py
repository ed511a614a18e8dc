"""A small Fashion200k: drawn pictures and labels in the official layout."""

from __future__ import annotations

import random
from pathlib import Path

from clplat.testing.twins._drawing import put

__all__ = ["fashion200k"]

_SHAPES = {"dress": "triangle", "skirt": "square"}
_COLOURS, _STUFFS = ("red", "blue", "green"), ("silk", "wool")


def fashion200k(folder: Path, pictures: int = 2, seed: int = 0) -> Path:
    """Write ``labels``, ``test_queries.txt`` and ``women`` of two categories.

    Captions are a colour, a stuff and the category; colours are drawn, stuffs are the ground.

    Args:
        folder: what they are written to.
        pictures: for each caption and split.
        seed: of which pictures lead to each other.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> sorted(path.name for path in fashion200k(Path(mkdtemp())).iterdir())
        ['labels', 'test_queries.txt', 'women']
    """
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    draw, queries = random.Random(seed), []
    for category, shape in _SHAPES.items():
        for split in ("train", "test"):
            lines: list[str] = []
            shown: dict[str, tuple[str, str]] = {}
            for i in range(pictures):
                for colour in _COLOURS:
                    for stuff in _STUFFS:
                        number = len(shown) + 100 * (split == "test")
                        path = f"women/{category}es/{stuff}/{number}/{number}_{i}.jpeg"
                        put(folder / path, colour, shape, ground="white" if stuff == "silk" else "lightgrey")
                        shown[path] = colour, stuff
                        lines.append(f"{path}\t0.{90 + i}\t{colour} {stuff} & lace {category}\n")
            (folder / "labels" / f"{category}_{split}_detect_all.txt").write_text("".join(lines))
            if split == "test":
                pairs = [
                    (one, other)
                    for one in shown
                    for other in shown
                    if sum(a != b for a, b in zip(shown[one], shown[other], strict=True)) == 1
                ]
                queries += draw.sample(pairs, 8)
    (folder / "test_queries.txt").write_text("".join(f"{one} {other}\n" for one, other in queries))
    return folder
