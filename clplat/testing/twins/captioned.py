"""Twins of captioned pictures: Karpathy's JSON, COCO's captions, tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["captioned"]

_GROUNDS = ("white", "lightgray", "beige", "lavender")
_SAID = ("a {c} {s}", "there is a {s} in {c}", "a picture of a {c} {s}", "one {s}, {c}", "the {s} is {c}")


def captioned(
    folder: Path,
    name: str = "flickr30k",
    form: str = "karpathy",
    pictures: int = 20,
    captions: int = 2,
    seed: int = 0,
) -> Path:
    """Write captioned pictures of shapes, three in five for training.

    Args:
        folder: that the set's own folder is made in.
        name: of the set; it decides the pictures' ground as well.
        form: ``karpathy`` (``dataset_<name>.json``), ``coco`` (``captions.json``), ``csv``, ``tsv`` or
            ``jsonl`` (a row per caption; columns picture, caption, split, domain, year).
        pictures: how many.
        captions: of each, at most five.
        seed: of the pictures.
    """
    home = Path(folder) / name
    ground = _GROUNDS[sum(map(ord, name)) % len(_GROUNDS)]
    rows: list[dict[str, Any]] = []
    for i in range(pictures):
        colour, shape = COLOURS[(i + seed) % 8], SHAPES[i // 8 % 6]
        put(home / "images" / f"{name}_{seed}{i:04d}.jpg", colour, shape, ground=ground)
        said = [form_.format(c=colour, s=shape) for form_ in _SAID[:captions]]
        split = ("train", "train", "val", "test", "train" if i % 2 else "restval")[i % 5]
        rows.append({"name": f"{name}_{seed}{i:04d}.jpg", "said": said, "split": split, "year": 2014 + i % 4})
    if form == "karpathy":
        _json(
            home / f"dataset_{name}.json",
            {"dataset": name, "images": [_image(i, r) for i, r in enumerate(rows)]},
        )
    elif form == "coco":
        images = [{"id": 10 * i, "file_name": f"images/{row['name']}"} for i, row in enumerate(rows)]
        notes = [{"image_id": 10 * i, "caption": said} for i, row in enumerate(rows) for said in row["said"]]
        _json(home / "captions.json", {"info": {}, "images": images, "annotations": notes})
    else:
        _table(home, name, form, rows)
    return Path(folder)


def _image(number: int, row: dict[str, Any]) -> dict[str, Any]:
    sentences = [{"raw": said, "tokens": said.split(), "imgid": number} for said in row["said"]]
    return {
        "filepath": "images",
        "filename": row["name"],
        "imgid": number,
        "split": row["split"],
        "sentences": sentences,
    }


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _table(home: Path, name: str, form: str, rows: list[dict[str, Any]]) -> None:
    held = [
        {
            "picture": f"images/{row['name']}",
            "caption": said,
            "split": row["split"],
            "domain": f"{name}-{row['year'] % 2}",
            "year": row["year"],
        }
        for row in rows
        for said in row["said"]
    ]
    with (home / f"captions.{form}").open("w", encoding="utf-8", newline="") as file:
        if form == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in held)
        else:
            writer = csv.DictWriter(file, list(held[0]), delimiter="\t" if form == "tsv" else ",")
            writer.writeheader()
            writer.writerows(held)
