"""``clplat evaluate``: a model that was trained elsewhere, measured."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from clplat.commands import TRUST, at_least, command, option, print_table
from clplat.errors import UserError, unknown_name

#: Endings of the files that hold the table, by the format of `clplat.tables.export`.
_ENDINGS = {"text": "txt", "csv": "csv", "latex": "tex", "markdown": "md"}


@command(
    option("--run RUN", "measure the model of this run instead, on another scenario if one is named"),
    option("--model MODEL", "the same of MLflow's registry: models:/NAME@champion or models:/NAME/1"),
    option("--model-version N", "of the run, experiences trained (default: the newest)", type=at_least(0)),
    option("--composer-weights FILE", "a .safetensors of the composer's weights alone", type=Path),
    option("--split NAME", "val or test (default: test, or val where labels of test are hidden)"),
    option(
        "--out", "folder of runs, in which --run and --model are looked up", type=Path, default=Path("runs")
    ),
    option("--format NAME", "of the table: text, csv, latex or markdown", default="text"),
    option("--json FILE", "write the evaluation to this file", type=Path),
    option("--submit FOLDER", "write what servers take of sets with hidden labels", type=Path),
    option("--to FOLDER", "write the evaluation and its table, in all formats, to this folder", type=Path),
    TRUST,
    parts=True,
)
def evaluate(options: Namespace) -> int:
    """measure a model that was trained elsewhere, beside all composers that need no training"""
    from clplat.config.raw import merge
    from clplat.files import write_json, write_text
    from clplat.tables.evaluation import evaluation_table
    from clplat.tables.export import FORMATS

    if options.format not in FORMATS:
        raise unknown_name("format", options.format, FORMATS)
    if options.split is not None:
        options.raw = merge(options.raw, {"evaluation.split": options.split})
    result = _evaluated(options)
    table = evaluation_table(result)
    if options.format == "text":
        print_table(*table)
    else:
        print(FORMATS[options.format](*table))
    if options.json is not None:
        write_json(options.json, result, checksum=False)
    if options.to is not None:
        write_json(options.to / "evaluation.json", result)
        for name, ending in _ENDINGS.items():
            write_text(options.to / f"table.{ending}", FORMATS[name](*table) + "\n")
    return 0


def _evaluated(options: Namespace) -> dict[str, Any]:
    """The evaluation of the model that the options name."""
    import tempfile

    from clplat.events import Listener
    from clplat.runs.evaluate import evaluate as evaluated

    class Said(Listener):
        def note(self, text: str) -> None:
            print(f"clplat: {text}", file=sys.stderr)

    if options.run is not None and options.model is not None:
        raise UserError("--run and --model both name the model: give one of them")
    with tempfile.TemporaryDirectory() as kept:
        folder = _folder_of(options, Path(kept))
        return evaluated(
            options.raw,
            run=folder,
            version=options.model_version,
            composer=options.composer_weights,
            submit=options.submit,
            listener=Said(),
        )


def _folder_of(options: Namespace, kept: Path) -> Path | None:
    """The folder of the run whose model is measured, if there is one."""
    if options.model is not None:
        if options.model_version is not None:
            raise UserError("--model-version goes with --run; a model of the registry is one version")
        from clplat.tracking import tracking_uri
        from clplat.tracking.models import download

        return download(options.model, tracking_uri(options.out), kept)
    if options.run is None:
        return None
    from clplat.tracking.run_folders import find_run

    return find_run(options.run, options.out)
