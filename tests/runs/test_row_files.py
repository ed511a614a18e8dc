"""Nothing is kept twice: what a version found as the one before did has another name, no other copy."""

from __future__ import annotations

from pathlib import Path

from clplat.files import keep_once
from clplat.runs.experiment import run

SMALL = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 8, "gallery": 20, "size": 16},
    "composer": {"name": "combiner", "projection": 8, "hidden": 8},
    "train": {"epochs": 1, "batch_size": 8},
    "probes": "none",
}


def inodes(folder: Path, kind: str) -> int:
    return len({path.stat().st_ino for path in (folder / kind).iterdir()})


def test_where_nothing_was_trained_nothing_is_kept_again(tmp_path: Path) -> None:
    run({**SMALL, "strategy": "frozen"}, tmp_path / "frozen")
    run({**SMALL, "strategy": "naive"}, tmp_path / "naive")
    for kind in ("galleries", "grids", "lists", "ranks"):
        assert (
            inodes(tmp_path / "frozen", kind) == 1 and len(list((tmp_path / "frozen" / kind).iterdir())) == 3
        )
    assert inodes(tmp_path / "naive", "galleries") == inodes(tmp_path / "naive", "lists") == 3


def test_a_file_that_differs_stays_as_it_is(tmp_path: Path) -> None:
    for name, content in (("0", b"a"), ("1", b"b"), ("2", b"b")):
        (tmp_path / name).write_bytes(content)
    for name in "123":
        keep_once(tmp_path / name, tmp_path / str(int(name) - 1))
        keep_once(tmp_path / name, tmp_path / str(int(name) - 1))
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"a", b"b", b"b"]
    assert (tmp_path / "2").samefile(tmp_path / "1") and not (tmp_path / "1").samefile(tmp_path / "0")
