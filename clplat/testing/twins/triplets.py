"""One small stream as a table of triplets, in every format that `clplat.scenarios.Triplets` reads."""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clplat.testing.twins._drawing import COLOURS, SHAPES, draw, put

__all__ = ["FORMS", "triplets"]

Row = dict[str, Any]
_COUNTS = {"train": 12, "val": 4, "test": 6}


def triplets(
    folder: Path,
    form: str = "jsonl",
    seed: int = 0,
    splits: bool = True,
    domains: Sequence[str] = ("white", "grey"),
) -> Path:
    """Draw pictures of shapes below ``folder/images``, and write who leads to whom.

    Args:
        folder: what the table is written to.
        form: one of ``FORMS``.
        seed: of the rows.
        splits: the table says the splits.
        domains: colours of the grounds, a domain each.

    Returns:
        The path of the table.

    Example:
        >>> from tempfile import mkdtemp
        >>> triplets(Path(mkdtemp()), "csv").name
        'data.csv'
    """
    rows = _rows(seed, domains)
    if form != "tar":
        for name, (colour, shape, ground) in _shown(domains).items():
            if not (folder / name).exists():
                put(folder / name, colour, shape, ground=ground)
    if not splits:
        rows = [{name: cell for name, cell in row.items() if name != "split"} for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    return FORMS[form](folder, rows)


def _shown(domains: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Every picture's name, and what it shows; each split has all colours and shapes."""
    return {
        f"images/{ground}/{split}/{colour} {shape}.png": (colour, shape, ground)
        for ground in domains
        for split in _COUNTS
        for colour in COLOURS[:4]
        for shape in SHAPES[:3]
    }


def _rows(seed: int, domains: Sequence[str]) -> list[Row]:
    draw_from, rows = random.Random(seed), []
    for ground in domains:
        for split, count in _COUNTS.items():
            for number in range(count):
                colour, wanted = draw_from.sample(COLOURS[:4], 2)
                shape, other = draw_from.sample(SHAPES[:3], 2)
                name = f"images/{ground}/{split}/{{}} {{}}.png"
                texts = [f"the same in {wanted}", f'"{wanted}", and nothing else, s\'il vous plaît']
                rows.append(
                    {
                        "id": f"{ground}-{split}-{number}",
                        "reference": name.format(colour, shape),
                        "texts": texts[: 1 + number % 2],
                        "target": name.format(wanted, shape),
                        "candidates": [name.format(wanted, other), name.format(wanted, shape)],
                        "tags": {"colour": wanted},
                        "domain": ground,
                        "split": split,
                    }
                )
    return rows


def _jsonl(folder: Path, rows: Sequence[Row]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _csv(folder: Path, rows: Sequence[Row]) -> Path:
    """As spreadsheets write it: a byte order mark, carriage returns; lists and objects as JSON."""
    path = folder / "data.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\r\n")
        table.writeheader()
        for row in rows:
            table.writerow(
                {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()}
            )
    return path


def _parquet(folder: Path, rows: Sequence[Row]) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(list(rows)), folder / "data.parquet")
    return folder / "data.parquet"


def _dataset(folder: Path, rows: Sequence[Row]) -> Path:
    import datasets

    path = folder / "saved"
    if "split" in rows[0]:
        parts: dict[str, list[Row]] = {}
        for row in rows:
            own = {name: cell for name, cell in row.items() if name != "split"}
            parts.setdefault(row["split"], []).append(own)
        held: Any = datasets.DatasetDict(
            {name: datasets.Dataset.from_list(some) for name, some in parts.items()}
        )
    else:
        held = datasets.Dataset.from_list(list(rows))
    held.save_to_disk(path)
    return path


def _tar(folder: Path, rows: Sequence[Row]) -> Path:
    """Two shards: rows as JSON members, and each picture once beside the first row that shows it."""
    path = folder / "shards"
    path.mkdir(exist_ok=True)
    shown, done = _shown(sorted({row["domain"] for row in rows})), set()
    for number, start in enumerate(range(0, len(rows), -(-len(rows) // 2))):
        with tarfile.open(path / f"shard-{number:03d}.tar", "w") as tar:
            for at, row in enumerate(rows[start : start + -(-len(rows) // 2)], start):
                for name in (row["reference"], row["target"], *row["candidates"]):
                    if name not in done:
                        done.add(name)
                        content = io.BytesIO()
                        draw(Path(name).name, *shown[name]).save(content, "PNG")
                        _add(tar, name, content.getvalue())
                _add(tar, f"{at:06d}.json", json.dumps(row).encode())
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


#: Name of a format -> who writes it.
FORMS: dict[str, Callable[[Path, Sequence[Row]], Path]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "datasets": _dataset,
    "tar": _tar,
}
