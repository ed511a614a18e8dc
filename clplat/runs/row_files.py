"""What a run keeps of each version beside its weights: what it found and measured."""

from __future__ import annotations

from pathlib import Path

from clplat.evaluation.evaluator import VersionMetrics
from clplat.evaluation.lists import save_lists
from clplat.files import keep_once
from clplat.trees import save_tree

__all__ = ["keep_row"]

#: Folders with a file per version that is the same where nothing was trained.
_FOUND = ("galleries", "grids", "lists", "ranks")


def keep_row(folder: Path, version: int, row: VersionMetrics) -> None:
    """Write the ranks, values and lists of a version; what it found as the version before did is kept once.

    Args:
        folder: of the run; the version's galleries and its grid are in it already.
    """
    save_tree(folder / "ranks" / f"{version}.safetensors", row.ranks)
    save_tree(folder / "values" / f"{version}.safetensors", row.values)
    save_lists(folder / "lists" / f"{version}.safetensors", row.lists)
    before = {f"{word}{version}": f"{word}{version - 1}" for word in ("", "step_")}
    for path in (path for kind in _FOUND for path in (folder / kind).rglob(f"*{version}.*")):
        if path.stem in before:
            keep_once(path, path.with_stem(before[path.stem]))
