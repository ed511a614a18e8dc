"""The second ``clplat demo`` of a machine against the first: what the store is worth to a newcomer.

Every strategy of the demo trains all weights of both towers, so that a step itself finds nothing; the second
demo finds the decoded pictures, the teachers and every evaluation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import once, row


def ours(which: str) -> Callable[[], object]:
    """A whole demo in a folder of its own; the store is that of the benchmark."""
    folder = Path(os.environ["CLPLAT_CACHE"], which)
    command = [str(Path(sys.executable).with_name("clplat")), "demo", "--out", str(folder)]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def rows() -> list[dict[str, Any]]:
    first, _ = once("demo", "first")
    second, _ = once("demo", "second")
    note = "seven strategies, five domains, two processes; peer: the first, with an empty store; one run each"
    return [row("second demo of a machine", second, first, "reported", note)]
