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

__all__ = ["PAGE", "page", "table"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- layers: written by `make index` -->\n", "<!-- end of layers -->\n"


def table() -> str:
    """One row per package or module, from the top layer down: what it holds, which others it imports."""
    options = read_configuration(str(ROOT / "pyproject.toml"))
    members = _members(options["contracts_options"])
    graph = grimp.build_graph(*options["session_options"]["root_packages"], cache_dir=None)
    for contract in options["contracts_options"]:
        for ignored in contract.get("ignore_imports", []):
            _forget(graph, ignored.partition(" -> ")[0])
    lines = ["| package or module | holds | imports |", "|---|---|---|"]
    for member in members:
        path = ROOT.joinpath(*member.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = f"{member.replace('.', '/')}/" if path.is_dir() else f"{member.replace('.', '/')}.py"
        found = ", ".join(f"`{other.removeprefix('clplat.')}`" for other in _imported(graph, member, members))
        lines.append(f"| `{name}` | {_docstring(source)} | {found or 'nothing'} |")
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


def _forget(graph: grimp.ImportGraph, importer: str) -> None:
    """Leave out the imports of a module that only hands names on."""
    for imported in graph.find_modules_directly_imported_by(importer):
        graph.remove_import(importer=importer, imported=imported)


def _imported(graph: grimp.ImportGraph, member: str, members: list[str]) -> list[str]:
    """What the modules of a package import of the others."""
    modules = {member, *graph.find_descendants(member)}
    found = {found for module in modules for found in graph.find_modules_directly_imported_by(module)}
    return [m for m in members if m != member and any(f == m or f.startswith(f"{m}.") for f in found)]


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
