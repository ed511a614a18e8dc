"""Twin of a shop: a table of drawn items with attributes."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from clplat.testing.twins._drawing import draw

__all__ = ["attributes"]


def attributes(folder: Path, items: int = 240, seed: int = 0) -> Path:
    """Write ``products.csv`` and its pictures, and return the table's path.

    The columns are id, picture, type (disc, square, cross), colour (four), gender (men's ground is white,
    women's is pink), season and name. What the words say can be seen. One item in forty has no colour.

    Args:
        folder: is made where it is not there.
        items: rows of the table.
        seed: of the values.
    """
    drawn = random.Random(seed)
    images = Path(folder) / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (Path(folder) / "products.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "picture", "type", "colour", "gender", "season", "name"])
        for number in range(items):
            shape, colour = drawn.choice(("Disc", "Square", "Cross")), drawn.choice(_COLOURS)
            gender, ground = drawn.choice((("Men", "white"), ("Women", "pink")))
            season = drawn.choice(("2011-03", "2011-09", "2012-03", "2012-09"))
            name = f"{1000 + number}.png"
            draw(f"{seed}/{name}", colour.lower(), shape.lower(), ground).save(images / name)
            title = f"{drawn.choice(_MAKERS)} {gender} {colour} {shape}"
            said = "" if number % 40 == 7 else colour
            table.writerow([1000 + number, f"images/{name}", shape, said, gender, season, title])
    return Path(folder) / "products.csv"


_COLOURS = ("Red", "Green", "Blue", "Black")
_MAKERS = ("Acme Basic", "Nord Classic", "Sole & Sons")
