"""What a folder of a sweep already holds is used again for the same configuration only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.config.differences import differences, in_words
from clplat.config.raw import merge, unflatten
from clplat.config.resolve import completed
from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.locks import is_locked
from clplat.runs.run_folder import LOCK, RESULT
from clplat.sweep.layout import FinalRun, Layout
from clplat.sweep.studies import WAYS_OUT, Studies

__all__ = ["REPLACED", "check_reuse", "named_by", "other_run"]

#: Folder of what was begun anew, in that of the sweep.
REPLACED = "replaced"


def other_run(layout: Layout, final: FinalRun, result: Mapping[str, Any]) -> dict[str, str]:
    """Option -> what it is in a result and in a final run, where they differ in more than the device."""
    wanted, held = layout.final_config(final).as_dict(), result["config"]
    found = {} if held == wanted else differences(completed(held), wanted)
    return {key: text for key, text in found.items() if key != "device"}


def named_by(layout: Layout, final: FinalRun, found: Mapping[str, str]) -> dict[str, str]:
    """Of what differs, the options that the sweep names.

    The others had another default when the run was made. A table of what was measured may show such runs, as
    long as all replicates of a method agree; `check_reuse` refuses to go on from them.
    """
    named = _paths(
        unflatten(merge(final.entry.raw, {**final.params, "seed": final.seed, "scenario.order": None}))
    )
    return {
        key: text for key, text in found.items() if any(f"{path}.".startswith(f"{key}.") for path in named)
    }


def _paths(tree: Any, path: str = "") -> list[str]:
    """The dotted options that a raw configuration names."""
    if not isinstance(tree, Mapping) or not tree:
        return [path]
    return [one for key, inner in tree.items() for one in _paths(inner, f"{path}.{key}".lstrip("."))]


def check_reuse(studies: Studies, anew: bool = False) -> list[str]:
    """Compare every study and final run on disk with the sweep, before anything runs.

    Args:
        anew: move what is of another configuration to ``replaced/<n>``, so that it begins anew.

    Returns:
        A line for each that was moved.

    Raises:
        UserError: a study or run differs, and ``anew`` is false; it runs at this moment.
    """
    moved = []
    for entry in studies.layout.studies:
        if other := studies.other_search(entry):
            if not anew:
                studies.check_same(entry)
            moved.append(f"the study '{entry.key}' begins anew: it had {other}")
            _move(studies.out, f"trials/{entry.key}", len(moved) == 1)
            studies.forget(entry.key)
    for final in (final for finals in studies.finals() for final in finals):
        path = studies.out / final.folder / RESULT
        found = other_run(studies.layout, final, read_result(path)) if path.exists() else {}
        # What tuning found may change while a sweep goes on: its outcome says so.
        said = in_words({key: text for key, text in found.items() if anew or key not in final.params})
        if said and not anew:
            raise UserError(f"{path.parent} holds another experiment ({said}); {WAYS_OUT}")
        if said:
            moved.append(f"{final.folder} begins anew: {said}")
            _move(studies.out, final.folder, len(moved) == 1)
            studies.begin_anew(final.folder)
    return moved


def _move(out: Path, name: str, first: bool) -> None:
    """Move a folder to the newest one of `REPLACED`, which the ``first`` one makes."""
    if running := next((path for path in (out / name).rglob(LOCK) if is_locked(path)), None):
        raise UserError(f"another process is running the experiment in {running.parent}")
    numbers = [int(path.name) for path in (out / REPLACED).glob("*") if path.name.isdecimal()]
    target = out / REPLACED / str(max(numbers, default=0) + first) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if (out / name).exists():
        os.replace(out / name, target)
