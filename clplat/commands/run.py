"""``clplat run`` and ``clplat track``: one experiment, and logging it again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from clplat.commands.options import add_no_track, at_least, raw_of

__all__ = ["add_run", "add_track", "run", "track"]


def add_run(parser: ArgumentParser) -> None:
    """The options of ``clplat run``."""
    parser.add_argument("--out", type=Path, help="folder of result and checkpoints (default: runs/<parts>)")
    text = (
        "steps between checkpoints, 0 for none within an experience (default: 1 %% of the time goes to them)"
    )
    parser.add_argument("--checkpoint-every", type=at_least(0), metavar="N", help=text)
    add_no_track(parser)
    parser.add_argument("--print-config", action="store_true", help="print the whole configuration and stop")


def run(options: Namespace, rest: list[str]) -> int:
    """One experiment."""
    raw = raw_of(options, rest)
    if raw is None:
        return 0
    from clplat.config.resolve import resolve

    config = resolve(raw)
    if options.print_config:
        import yaml

        print(yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True), end="")
        return 0
    from clplat.runs.run_folder import default_folder
    from clplat.tables.comparison import plain
    from clplat.terminal import Terminal
    from clplat.tracking import Tracker, from_results
    from clplat.tracking.listener import tracked

    with Terminal() as terminal:
        folder = options.out or default_folder(config)
        tracker = None if options.no_track else Tracker(folder.parent, warn=terminal.say)
        if tracker is not None:
            tracker.start_background()  # while we load torch
        from clplat.runs.experiment import run as run_experiment

        listener = tracked(terminal.listener(config.name("strategy")), tracker, folder)
        result = run_experiment(config, folder, listener=listener, checkpoint_every=options.checkpoint_every)
        if tracker is not None:
            tracker.close()
    print(plain(from_results([result])))
    print(f"result: {folder / 'result.json'}")
    return 0


def add_track(parser: ArgumentParser) -> None:
    """The options of ``clplat track``."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a run")


def track(options: Namespace, rest: list[str]) -> int:
    """Log results that are on disk."""
    from clplat.files import read_json
    from clplat.tracking import log_result

    # `clplat track runs/*` names MLflow's own files as well.
    folders = [folder for folder in options.folders if (folder / "result.json").exists()]
    code = 0
    for folder in folders or options.folders:
        run_id = log_result(read_json(folder / "result.json"), folder)
        print(f"{folder}: " + (f"run {run_id}" if run_id else "not logged"))
        code = code if run_id else 2
    return code
