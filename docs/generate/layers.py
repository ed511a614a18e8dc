"""The table of layers in docs/architecture.md: the contract on imports, docstrings, and the actual imports.

python -m docs.generate.layers
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import grimp
from importlinter.api import read_configuration

from clplat.files import write_text
from clplat.kinds import every_kind

__all__ = ["PAGE", "page", "table"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
#: Packages that grow by parts and questions: what a new one imports is no change of the layers.
OPEN = {"strategies", "scenarios", "sweeps", "clplat.parts"}
#: Modules that hand on a package of parts under a short name: one row for all of them.
SHORT = {f"clplat.{kind.plural}" for kind in every_kind() if kind.plural}
SHORT_ROW = "| `clplat/<kind>.py` | The parts, as ``clplat.losses.InfoNCE``. | `registry`, `beside` |"
BEGIN, END = "<!-- layers: written by `make layers` -->\n", "<!-- end of layers -->\n"


def table() -> str:
    """One row per package or module, from the top layer down: what it holds, which others it imports."""
    options = read_configuration(str(ROOT / "pyproject.toml"))
    members = _members(options["contracts_options"])
    graph = grimp.build_graph(*options["session_options"]["root_packages"], cache_dir=None)
    lines = ["| package or module | holds | imports |", "|---|---|---|"]
    for member in members:
        if member in SHORT:
            lines += [SHORT_ROW] * (SHORT_ROW not in lines)
            continue
        path = ROOT.joinpath(*member.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = f"{member.replace('.', '/')}/" if path.is_dir() else f"{member.replace('.', '/')}.py"
        lines.append(f"| `{name}` | {_docstring(source)} | {_imports(graph, member, members)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with the table as it has to be."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    return f"{before}{BEGIN}\n{table()}\n{after}"


def _members(contracts: list[dict[str, Any]]) -> list[str]:
    """All packages and modules of the layers, those of the top layer first."""
    members = []
    for contract in reversed([contract for contract in contracts if contract["type"] == "layers"]):
        above = "".join(f"{container}." for container in contract.get("containers", []))
        members += [above + member for layer in contract["layers"] for member in re.split(r" *[|:] *", layer)]
    members.remove("clplat")
    return members


def _imports(graph: grimp.ImportGraph, member: str, members: list[str]) -> str:
    """What the modules of a package import of the others."""
    if member in OPEN:
        return "anything below"
    modules = {member, *graph.find_descendants(member)}
    imported = set().union(*(graph.find_modules_directly_imported_by(module) for module in modules))
    others = [m for m in members if m != member and any(f"{name}.".startswith(f"{m}.") for name in imported)]
    return ", ".join(f"`{other.removeprefix('clplat.')}`" for other in others) or "nothing"


def _docstring(source: Path) -> str:
    """The first line of what a module says of itself."""
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].replace("|", r"\|")


def main() -> None:
    """Write the table into the page."""
    write_text(PAGE, page())
    print(PAGE)


if __name__ == "__main__":
    main()
