"""A sweep as a Python script: edit the description at its top, run it, add flags on top."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from clplat.sweep.plan import Sweep

__all__ = ["script"]


def script(sweep: Sweep, file: str) -> int:
    """Run a sweep with the command line of ``clplat sweep`` on top of it; return the exit code.

    Args:
        file: of the script; its name is that of the folder, ``runs/<name>``, unless ``--out`` is given.

    Example:
        The last lines of a script: ``if __name__ == "__main__": sys.exit(script(SWEEP, __file__))``
    """
    from clplat.cli import main

    words = sys.argv[1:]
    out = ["--out", f"runs/{Path(file).stem.replace('_', '-')}"]
    said = shlex.join(["python", f"sweeps/{Path(file).name}", *words])
    return main(["sweep", *out, *words], sweep=sweep, script=said)
