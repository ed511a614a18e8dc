"""``python -m benchmarks [MODULE ...]``: measure, merge into results.json, write docs/performance.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.harness import child
from benchmarks.mammoth import FOLDER, missing
from benchmarks.page import MAMMOTH, MODULES, PAGE, RESULTS, render
from clplat.files import read_json, write_json, write_text
from clplat.provenance import library_versions

_LIBRARIES = ("python", "clplat", "torch", "open_clip_torch", "peft", "avalanche-lib", "numpy")


def measure(module: str) -> dict[str, Any]:
    """Its rows, and where they come from."""
    rows = json.loads(child("rows", module))
    versions = library_versions()
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "libraries": {name: versions[name] for name in _LIBRARIES},
        "rows": rows,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}; default all")
    parser.add_argument("--mammoth", metavar="FOLDER", help=f"with Mammoth's code; default ${FOLDER}")
    parser.add_argument("--page", action="store_true", help="only write the page from results.json")
    arguments = parser.parse_args()
    unknown = set(arguments.modules) - set(MODULES)
    if unknown:
        parser.error(f"no benchmark '{min(unknown)}' (allowed: {', '.join(MODULES)})")
    modules = () if arguments.page else arguments.modules or MODULES
    if arguments.mammoth:
        os.environ[FOLDER] = str(Path(arguments.mammoth).resolve())
    if {*MAMMOTH} & {*modules} and (what := missing()):
        if arguments.modules:
            parser.error(what)
        print(f"{', '.join(MAMMOTH)} are left out. {what}", file=sys.stderr)
        modules = tuple(name for name in modules if name not in MAMMOTH)
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for module in modules:
        results[module] = measure(module)
        write_json(RESULTS, results)
        write_text(PAGE, render(results))
    if arguments.page:
        write_text(PAGE, render(results))


if __name__ == "__main__":
    main()
