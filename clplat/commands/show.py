"""``clplat list``, ``compare`` and ``ui``: what exists, and what was run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clplat.commands.options import add_out, at_least
from clplat.errors import UserError, unknown_name
from clplat.kinds import KINDS

__all__ = ["LISTED", "add_compare", "add_list", "add_ui", "compare", "list_parts", "ui"]

#: What ``clplat list`` knows, in words.
LISTED = ", ".join([*(kind.plural for kind in KINDS.values() if kind.plural), "recipes", "systems"])


def add_list(parser: ArgumentParser) -> None:
    """The options of ``clplat list``."""
    parser.add_argument("kind", metavar="KIND", help=LISTED)
    parser.add_argument("family", nargs="?", metavar="FAMILY", help="only this family, of recipes or parts")


def list_parts(options: Namespace, rest: list[str]) -> int:
    """The parts of one kind, the recipes or the systems, one line each."""
    lines = _parts(options) if options.kind not in ("recipes", "systems") else _recipes(options)
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:{width}}  {text}")
    return 0


def _parts(options: Namespace) -> list[tuple[str, str]]:
    from clplat import registry

    lines, places = [], registry.places(options.kind)
    families = sorted({place.family for place in places.values()} - {""})
    if options.family is not None and options.family not in families:
        raise unknown_name(f"family of {options.kind}", options.family, families)
    for name, place in places.items():
        if options.family in (None, place.family):
            try:
                lines.append((name, registry.describe(options.kind, name)))
            except UserError as error:  # one broken package must not hide the others
                lines.append((name, f"({error})"))
    return lines


def _recipes(options: Namespace) -> list[tuple[str, str]]:
    from clplat.config.recipes import recipes

    found = recipes(options.family)
    if options.kind == "recipes":
        return [(r.name, f"{r.system}: {r.paper}") for r in found]
    lines = [(r.system, f"--recipe {r.name} ({r.match}): {r.paper}") for r in found]
    return sorted(lines, key=lambda line: line[0].lower())


def add_compare(parser: ArgumentParser) -> None:
    """The options of ``clplat compare``."""
    add_out(parser, "runs")
    parser.add_argument("--scenario", help="only runs on this scenario")


def compare(options: Namespace, rest: list[str]) -> int:
    """The table of finished runs."""
    from clplat.tables.comparison import plain, winner_line
    from clplat.tracking import comparison

    rows = comparison(options.out, options.scenario)
    if not rows:
        raise UserError(f"no finished runs in {options.out}; run some, or log them with clplat track")
    print(plain(rows))
    print(winner_line(rows))
    return 0


def add_ui(parser: ArgumentParser) -> None:
    """The options of ``clplat ui``."""
    add_out(parser, "runs")
    parser.add_argument("--port", type=at_least(1), default=5000, help="(default: %(default)s)")


def ui(options: Namespace, rest: list[str]) -> int:
    """MLflow's pages."""
    from clplat.tracking import serve

    return serve(options.out, options.port)
