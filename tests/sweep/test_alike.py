"""Runs of a sweep that hold the same share it, and neither changes when the other is written anew."""

from __future__ import annotations

from pathlib import Path

from clplat.files import write_text
from clplat.sweep.alike import keep_alike_once


def written(path: Path, content: str) -> Path:
    write_text(path, content)
    return path


def test_equal_files_of_runs_are_one_and_stay_apart(tmp_path: Path) -> None:
    same, other = "a" * 5000, "b" * 5000
    runs = [written(tmp_path / run / "versions" / "1.safetensors", same) for run in ("naive-s0", "ewc-s0")]
    copy = written(tmp_path / "mlartifacts" / "models" / "m" / "versions" / "1.safetensors", same)
    view = written(tmp_path / "naive-s0" / "galleries" / "own" / "0.safetensors", same)
    lone = written(tmp_path / "replay-s0" / "versions" / "1.safetensors", other)
    values = [written(tmp_path / run / "values" / "1.safetensors", same) for run in ("naive-s0", "ewc-s0")]
    for _ in range(2):
        keep_alike_once(tmp_path)
        assert len({path.stat().st_ino for path in (*runs, copy, view)}) == 1
    assert lone.read_text() == other and lone.stat().st_nlink == 1
    assert [path.stat().st_nlink for path in values] == [1, 1]
    written(runs[0], other)
    assert runs[1].read_text() == copy.read_text() == same
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
