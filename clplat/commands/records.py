"""``clplat report`` and ``track``: the records of experiments, written again."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from clplat.commands import ALSO, TRUST, command, option
from clplat.events import Listener


class _Printed(Listener):
    """Prints what is said, where it is no answer."""

    def note(self, text: str) -> None:
        print(f"clplat: {text}", file=sys.stderr)


@command(
    option("out OUT", "folder of the sweep", type=Path),
    option("--storage ADDRESS", "where its studies are (default: in the folder)"),
    option("--tables FORMAT", "its tables as files too, in OUT/tables: csv, latex, markdown or text"),
    TRUST,
)
def report(options: Namespace) -> int:
    """write OUT/report.html of a sweep anew, also while it runs"""
    from clplat.report import save_figure, write_report, write_tables
    from clplat.sweep.run import PLAN, gather

    if (options.out / PLAN).exists():
        gather(options.out, options.storage)
    save_figure(options.out)
    print(write_report(options.out))
    if options.tables is not None:
        print("\n".join(map(str, write_tables(options.out, options.tables))))
    return 0


@command(option("folders FOLDER", "of a run", nargs="+", type=Path), ALSO)
def track(options: Namespace) -> int:
    """log finished or running experiments to MLflow (again)"""
    from clplat.documents.result import read_result
    from clplat.tracking import log_result
    from clplat.tracking.listeners import AlsoListener, writers

    # `clplat track runs/*` names MLflow's own files as well.
    folders = [folder for folder in options.folders if (folder / "result.json").exists()]
    code = 0
    for folder in folders or options.folders:
        result = read_result(folder / "result.json")
        failed: set[str] = set()
        AlsoListener(_Printed(), writers(options.also, folder), failed).finished(result)
        run_id = log_result(result, folder)
        print(f"{folder}: " + (f"run {run_id}" if run_id else "not logged"))
        code = code if run_id and not failed else 2
    return code
