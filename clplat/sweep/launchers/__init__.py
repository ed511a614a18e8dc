"""Who starts the workers of a sweep on other machines: engines that exist, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from clplat.errors import UserError
from clplat.sweep.plan import Sweep

__all__ = ["LAUNCHERS", "launch"]

#: Name -> the package that its extra brings.
LAUNCHERS = {"ray": "ray", "slurm": "submitit"}


def launch(
    name: str,
    sweep: Sweep,
    out: Path,
    storage: str | None,
    session: str,
    workers: int,
    track: bool,
    say: Callable[[str], None],
) -> None:
    """Start ``workers`` workers by an engine and wait for their end.

    Raises:
        UserError: its extra is not installed.
    """
    if importlib.util.find_spec(LAUNCHERS[name]) is None:
        raise UserError(f"the launcher '{name}' needs {LAUNCHERS[name]}: pip install 'clplat[{name}]'")
    module = importlib.import_module(f"clplat.sweep.launchers.{name}")
    module.start(sweep.as_dict(), out, storage, session, workers, track, say)
