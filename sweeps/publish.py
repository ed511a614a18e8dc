"""What the scripts of this folder found when they were last run, and the pages made from it.

``results/<script>.json`` keeps an outcome without its folders: command, versions, code, date,
seconds and the table. ``docs/findings.md`` and the table in README.md are written from these files alone; a
test keeps them together.

    python sweeps/memory_size.py --workers 2 --out runs/memory-size
    python -m sweeps.publish record runs/memory-size     # finished; a script as it stands, or the demo
    python -m sweeps.publish pages
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from PIL import Image

from clplat.config.raw import read_config
from clplat.errors import UserError
from clplat.files import read_json, write_atomically, write_json, write_text
from clplat.sweep import Sweep, read_sweep
from clplat.sweep.comparisons import sentence
from clplat.tables.sweep import sweep_table
from clplat.tables.text import markdown

__all__ = ["PAGE", "README", "ROOT", "described", "findings", "read_ledger", "readme", "record", "scripts"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "findings.md"
README = ROOT / "README.md"
DEMO = "demo"
_LEFT_OUT = ("schema", "status", "objectives", "seeds", "orders", "studies")
_MARKS = ("<!-- demo table -->\n", "\n<!-- /demo table -->")
_WIDTH, _COLOURS = 1200, 128  # of a figure: small enough to be committed again and again


def scripts() -> dict[str, Sweep]:
    """Every script of this folder by file name, with its description."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    modules = {name: importlib.import_module(f"sweeps.{name}") for name in names if name != "__init__"}
    return {name: module.SWEEP for name, module in modules.items() if hasattr(module, "SWEEP")}


def described(plan: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Which script a description belongs to, by name, and what that script describes now.

    Raises:
        UserError: none of the scripts has a sweep of this name.
    """
    if plan["name"] == DEMO:  # it has no script: what is measured stands in a file of clplat
        return DEMO, {**read_sweep(plan).as_dict(), "base": read_config(ROOT / "clplat" / "demo.yaml")}
    for script, sweep in scripts().items():
        if sweep.name == plan["name"]:
            return script, sweep.as_dict()
    known = ", ".join(sweep.name for sweep in scripts().values())
    raise UserError(f"no script has a sweep named '{plan['name']}' (allowed: {DEMO}, {known})")


def record(out: Path, root: Path = ROOT) -> Path:
    """Write the entry of a finished sweep, and its figure as a small picture.

    Args:
        out: folder of the sweep.
        root: of the repository: ``results/`` and ``docs/images/`` in it are written.

    Returns:
        The entry's path.

    Raises:
        UserError: the sweep is not complete, or it is not what the script describes now.
    """
    if not (out / "sweep.json").exists():
        raise UserError(f"there is no outcome in {out}: sweep.json is missing")
    outcome = read_json(out / "sweep.json")
    plan = read_sweep(out / "sweep.yaml").as_dict()
    short = [row["label"] for row in outcome["rows"] if row["n"] < len(plan["seeds"])]
    if outcome["status"] != "complete" or short:
        why = f"'{short[0]}' lacks replicates" if short else f"its status is '{outcome['status']}'"
        raise UserError(f"the sweep in {out} is not complete ({why}): run it again")
    script, now = described(plan)
    changed = [key for key in now if now[key] != plan.get(key)]
    if changed:
        raise UserError(
            f"the sweep in {out} has another '{changed[0]}' than '{script}' describes now; "
            "run that again, without options that change it"
        )
    # Every call writes the description first and the outcome last.
    if (out / "sweep.yaml").stat().st_mtime_ns > (out / "sweep.json").stat().st_mtime_ns:
        raise UserError(f"the outcome in {out} is older than its description: let it end, or run it again")
    figure = None
    if (out / "figure.png").exists():
        picture = root / "docs" / "images" / f"sweep-{script.replace('_', '-')}.png"
        _small(out / "figure.png", picture)
        figure = {"file": picture.name, "sha256": hashlib.sha256(picture.read_bytes()).hexdigest()}
    date = datetime.fromtimestamp((out / "sweep.json").stat().st_mtime, timezone.utc).date()
    entry = {key: outcome[key] for key in outcome if key not in _LEFT_OUT} | {
        "date": date.isoformat(),
        "seconds": round(_seconds(outcome)),
        "description": plan,
        "rows": [{key: row[key] for key in row if key != "folders"} for row in outcome["rows"]],
        "failures": [f"{failure['label']}: {failure['why']}" for failure in outcome["failures"]],
        "figure": figure,
    }
    path = root / "results" / f"{script}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, entry)
    return path


def read_ledger(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Every entry by script; the demo first."""
    entries = {path.stem: read_json(path) for path in sorted((root / "results").glob("*.json"))}
    return {name: entries[name] for name in sorted(entries, key=lambda name: name != DEMO)}


def findings(ledger: Mapping[str, Mapping[str, Any]]) -> str:
    """The page in Markdown."""
    lines = [
        "# Findings",
        "",
        "<!-- Written by `python -m sweeps.publish pages` from results/; do not edit. -->",
        "",
        "What the scripts in `sweeps/` found when they were last run, at the sizes that stand in them: a few",
        "hundred triplets of the drawn catalogue, a small CLIP, two cores. They show what a script answers,",
        "and that its numbers are sane; they are no claims about photographs or large models. *Significant*",
        "is a difference that a paired test keeps after correction for the number of comparisons",
        "([statistics.md](statistics.md), [sweeps.md](sweeps.md)). Seconds were measured on cores that did",
        "other work as well. The files behind this page: `results/`. Comparisons of before 2026-11-30 were",
        "judged anew by that day's rule, from the intervals and p-values that were kept; *forgets* of before",
        "then counts what was known of a domain before its training too.",
        "",
    ]
    for script, entry in ledger.items():
        lines += [*_section(script, entry), ""]
    return "\n".join(lines).rstrip() + "\n"


def readme(text: str, ledger: Mapping[str, Mapping[str, Any]]) -> str:
    """README.md with the table of the demo as the ledger has it."""
    start, end = _MARKS
    before, _, rest = text.partition(start)
    after = rest.partition(end)[2]
    return f"{before}{start}{markdown(*sweep_table(ledger[DEMO]))}{end}{after}"


def _section(script: str, entry: Mapping[str, Any]) -> list[str]:
    command = "clplat demo" if script == DEMO else f"python sweeps/{script}.py --workers 2"
    figure, code = entry["figure"], ", ".join(f"`{code[:12]}`" for code in entry["code"])
    return [
        f"## {entry['name'].capitalize()}",
        "",
        entry["question"],
        "",
        f"**Answer.** {sentence(entry['rows'], entry['comparisons'])}",
        "",
        *([f"![{entry['name']}](images/{figure['file']})", ""] if figure else []),
        markdown(*sweep_table(entry)),
        "",
        *(f"Failed: {failure}\n" for failure in entry["failures"]),
        f"Repeat: `{command}`. Measured {entry['date']} with code {code}, torch "
        f"{entry['versions']['torch']}; {entry['seconds'] / 60:.0f} minutes of training and measuring.",
    ]


def _seconds(outcome: Mapping[str, Any]) -> float:
    """Seconds of all runs, trials included."""
    rows = sum(row["n"] * row["measures"]["seconds"]["mean"] for row in outcome["rows"])
    return float(rows + sum(study["spent"]["seconds"] for study in outcome["studies"]))


def _small(source: Path, target: Path) -> None:
    """The same figure in few colours and at most `_WIDTH` pixels wide."""
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    image.thumbnail((_WIDTH, image.height), Image.Resampling.LANCZOS, reducing_gap=None)
    # Lines are few pixels: a palette by frequency alone would lose their colours.
    palette = image.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda path: palette.save(path, format="PNG", optimize=True))


def main() -> int:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.publish", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    keep = commands.add_parser("record", help="keep the outcome of a finished sweep in results/")
    keep.add_argument("out", type=Path, nargs="+", metavar="OUT", help="its folder")
    commands.add_parser("pages", help="write docs/findings.md and the table in README.md from results/")
    options = parser.parse_args()
    try:
        if options.command == "record":
            for out in options.out:
                print(record(out))
            return 0
        ledger = read_ledger()
        write_text(PAGE, findings(ledger))
        write_text(README, readme(README.read_text(encoding="utf-8"), ledger))
        print(PAGE, README, sep="\n")
    except UserError as error:
        print(f"sweeps.publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
