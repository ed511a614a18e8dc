"""How the workers of a sweep are started on other machines: by existing engines, found by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace

from clplat.errors import UserError
from clplat.sweep.worker_spec import WorkerSpec

__all__ = ["LAUNCHERS", "launch"]

#: Name -> the package that its extra brings.
LAUNCHERS = {"ray": "ray", "slurm": "submitit"}


def launch(name: str, spec: WorkerSpec, say: Callable[[str], None]) -> None:
    """Start workers by an engine and wait for their end.

    Raises:
        UserError: its extra is not installed.
    """
    if importlib.util.find_spec(LAUNCHERS[name]) is None:
        raise UserError(f"the launcher '{name}' needs {LAUNCHERS[name]}: pip install 'clplat[{name}]'")
    module = importlib.import_module(f"clplat.sweep.launchers.{name}")
    module.start(replace(spec, out=spec.out.resolve()), say)
