"""A table of triplets with its pictures, as a shop has them: drawn by the catalogue, in the folder shop."""

from __future__ import annotations

import json
from pathlib import Path

from clplat.scenarios import Catalogue


def write(folder: Path, **sizes: int) -> Path:
    """Draw a small catalogue into a folder; returns the table, a row for each training triplet and query."""
    files, rows = {}, []
    for domain in Catalogue(**sizes).build()[0]:
        asked = [("train", e.query.picture, e.query.text, [e.target.picture]) for e in domain.train]
        for split, held in domain.sets.items():
            shown = {picture.key: picture for picture in held.gallery.pictures}
            asked += [(split, q.reference, q.text, [shown[key] for key in q.targets]) for q in held.queries]
        for split, reference, text, answers in asked:
            names = ["/".join(p.key.split("/")[2:]) + ".png" for p in (reference, *answers)]
            files |= dict(zip(names, (reference, *answers), strict=True))
            row = {"reference": names[0], "text": text, "target": names[1:]}
            rows.append(row | {"domain": domain.name, "split": split})
    for name, picture in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.load().save(folder / name)
    table = folder / "data.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return table


if __name__ == "__main__":
    print(write(Path("shop"), domains=5, train=400, queries=80, gallery=160))
