"""``clplat data``: what a stream holds, before anything is trained on it."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from clplat.commands import at_least, command, option, print_table
from clplat.errors import UserError, unknown_name

_ACTIONS = ("check", "show")


@command(
    option("action ACTION", ", ".join(_ACTIONS)),
    option("--quick", "check: decode no picture", action="store_true"),
    option("--near", "check: look for pictures that are nearly equal, too", action="store_true"),
    option("--json FILE", "check: write all that was found to this file", type=Path),
    option(
        "--workers N", "check: processes that decode", type=at_least(0), default=min(4, os.cpu_count() or 1)
    ),
    option("--to FILE", "show: the page, .png or .html", type=Path, default=Path("data.png")),
    option("--rows N", "show: examples on it", type=at_least(1, 100), default=8),
    parts=True,
)
def data(options: Namespace) -> int:
    """what a stream holds: check its pictures, texts and counts, or show some of it"""
    from clplat.config.raw import merge
    from clplat.config.resolve import resolve
    from clplat.config.slots import options_of

    if options.action not in _ACTIONS:
        raise unknown_name("action", options.action, _ACTIONS)
    config = resolve(options.raw)
    if options.action == "show":
        return _show(config, options)
    if "scenario.missing" in options_of("scenario", config.name("scenario")):
        config = resolve(merge(config.as_dict(), {"scenario.missing": "keep"}))
    return _check(config, options)


def _check(config: Any, options: Namespace) -> int:
    from dataclasses import asdict

    from clplat.checking.check import check
    from clplat.checking.lengths import lengths_of
    from clplat.config.raw import unflatten
    from clplat.data.walk import words
    from clplat.files import write_json

    scenario = config.make("scenario")
    domains, _ = scenario.build()
    counted = dict(getattr(scenario, "report", {}) or {}).get("counts")
    report = check(
        domains,
        getattr(scenario, "published", None),
        counted if isinstance(counted, dict) else None,
        quick=options.quick,
        near=options.near,
        workers=options.workers,
        said=_progress,
    )
    texts = list(dict.fromkeys(words(list(domains))))
    report.lengths = lengths_of(texts, config.make("backbone"))
    said = f"of {len(texts)} texts are longer than {report.lengths.context} tokens and would be cut"
    report.add(report.problems, "cut", report.lengths.cut, said)
    if "backbone" in unflatten(options.raw) and not options.quick:
        _ask_alone(report, config, domains)
    report.remarks += list(getattr(scenario, "remarks", ()))
    if options.json is not None:
        write_json(options.json, asdict(report), checksum=False)
    _print_tables(report)
    for kind, lines in (("problem", report.problems), ("remark", report.remarks)):
        for line in lines:
            print(f"{kind}: {line}")
    if not report.problems:
        print("no problems" + (" (no picture was decoded)" if options.quick else ""))
    return 1 if report.problems else 0


def _ask_alone(report: Any, config: Any, domains: Any) -> None:
    """What a model that was named finds with half of a query."""
    from clplat.checking.alone import measured_alone

    if {"missing", "unreadable"} & report.details.keys():
        report.remarks.append("what a model finds with half of a query is not measured: pictures are missing")
        return
    report.alone = measured_alone(config, domains)
    report.remarks += [f"{place}: {line}" for place, one in report.alone.items() for line in one.remarks]


def _print_tables(report: Any) -> None:
    columns = ("examples", "queries", "answers", "gallery")
    body = [[at, *(f"{row[c]:,}" if c in row else "" for c in columns)] for at, row in report.counts.items()]
    print_table(["", *columns], body, 1)
    print(report.lengths.said)
    asked = [
        [place, who, f"{found['R@1']:.1f}", f"{one.primary} {found[one.primary]:.1f}"]
        for place, one in report.alone.items()
        for who, found in one.metrics.items()
    ]
    if asked:
        print_table(["", "asked by", "R@1", "primary"], asked, 2)


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done >= of else ""
        print(f"\r{done:,} of {of:,} pictures", end=end, file=sys.stderr, flush=True)


def _show(config: Any, options: Namespace) -> int:
    from clplat.checking.page import ENDINGS, page
    from clplat.files import write_atomically

    if options.to.suffix.lower() not in ENDINGS:
        raise UserError(f"--to takes a file that ends with {' or '.join(ENDINGS)}, not '{options.to}'")
    domains, _ = config.make("scenario").build()
    content = page(domains, options.rows, config.seed, options.to.suffix.lower())
    write_atomically(options.to, lambda path: path.write_bytes(content))
    print(options.to)
    return 0
