"""Pictures of queries are cut out of the grids that runs drew: the same pictures, words and ranks."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from clplat.data.records import Item, Picture
from clplat.plots.grids import last_grid, read_grid, side_by_side
from clplat.retrieval_grid import draw_grid, save_picture


def square(colour: str) -> Picture:
    return Picture(colour, lambda: Image.new("RGB", (96, 96), colour))


def grid(path: Path, text: str, best: str, rank: int | None) -> Path:
    wanted = None if rank is None else (Item("k", square("blue")), rank)
    found = [(square(best), best == "blue"), (square("yellow"), None)]
    save_picture(
        draw_grid([("shoes \u00e9", square("red"), text, found), ("b", None, "", [])], [wanted, None]), path
    )
    return path


def colour(picture: Image.Image | None) -> object:
    return None if picture is None else picture.getpixel((60, 60))


def test_a_grid_says_what_is_where(tmp_path: Path) -> None:
    for step in (0, 2, 10):
        grid(tmp_path / f"step_{step}.png", "in blue \u2192", "green", 7 + step)
    newest = last_grid(tmp_path)
    assert newest is not None and newest.name == "step_10.png"
    one, other = read_grid(newest)
    assert (one.query, one.text, one.rank) == ("shoes \u00e9", "in blue \u2192", 17)
    assert (colour(one.reference), colour(one.wanted)) == ((255, 0, 0), (0, 0, 255))
    assert [(colour(p), right) for p, right in one.best] == [((0, 128, 0), False), ((255, 255, 0), None)]
    assert (other.reference, other.wanted, other.rank, list(other.best)) == (None, None, None, [])


def test_methods_stand_side_by_side_in_their_order(tmp_path: Path) -> None:
    grids = {
        "first": grid(tmp_path / "a.png", "in blue", "blue", 1),
        "second": grid(tmp_path / "b.png", "in blue", "green", 3),
        "asked something else": grid(tmp_path / "c.png", "in green", "green", 1),
        "broken": tmp_path / "d.png",
        "old": tmp_path / "e.png",
    }
    grids["broken"].write_bytes(b"no picture")
    Image.new("RGB", (10, 10)).save(grids["old"])
    sheet = side_by_side(grids, {"first": "#123456"})["shoes \u00e9"]
    places = {pixel: [] for pixel in ((0, 0, 255), (0, 128, 0), (255, 0, 0))}
    for x in range(0, sheet.width, 4):
        for y in range(0, sheet.height, 4):
            if sheet.getpixel((x, y)) in places:
                places[sheet.getpixel((x, y))].append((x, y))
    assert (0x12, 0x34, 0x56) in {pixel for _, pixel in sheet.getcolors(1 << 20) or []}
    below = max(y for _, y in places[255, 0, 0])  # the reference is above what was found
    blue = [x for x, y in places[0, 0, 255] if y > below]
    green = [x for x, y in places[0, 128, 0] if y > below]
    assert max(blue) < min(green) and max(green) < 0.5 * sheet.width  # two columns, and no third
    assert any(y < below and x > 0.6 * sheet.width for x, y in places[0, 0, 255])  # the wanted picture
