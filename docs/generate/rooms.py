"""The table of rooms in docs/architecture.md, from layers, docstrings and the imports that there are.

python -m docs.generate.rooms
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
BEGIN, END = "<!-- rooms: written by `make index` -->\n", "<!-- end of rooms -->\n"


def table() -> str:
    """One row per room, from the top layer down: where it is, what it holds, which rooms it imports."""
    options = read_configuration(str(ROOT / "pyproject.toml"))
    rooms = _rooms(options["contracts_options"])
    graph = grimp.build_graph(*options["session_options"]["root_packages"], cache_dir=None)
    for contract in options["contracts_options"]:
        for ignored in contract.get("ignore_imports", []):
            _forget(graph, ignored.partition(" -> ")[0])
    lines = ["| room | holds | imports |", "|---|---|---|"]
    for room in rooms:
        path = ROOT.joinpath(*room.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = f"{room.replace('.', '/')}/" if path.is_dir() else f"{room.replace('.', '/')}.py"
        found = ", ".join(f"`{other.removeprefix('clplat.')}`" for other in _imported(graph, room, rooms))
        lines.append(f"| `{name}` | {_docstring(source)} | {found or 'nothing'} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with the table as it has to be."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    return f"{before}{BEGIN}\n{table()}\n{after}"


def _rooms(contracts: list[dict[str, Any]]) -> list[str]:
    """All rooms, those of the top layer first."""
    rooms = []
    for contract in reversed([contract for contract in contracts if contract["type"] == "layers"]):
        above = "".join(f"{container}." for container in contract.get("containers", []))
        rooms += [above + room for layer in contract["layers"] for room in re.split(r" *[|:] *", layer)]
    rooms.remove("clplat")
    return rooms


def _forget(graph: grimp.ImportGraph, importer: str) -> None:
    """Leave out the imports of a module that only hands names on."""
    for imported in graph.find_modules_directly_imported_by(importer):
        graph.remove_import(importer=importer, imported=imported)


def _imported(graph: grimp.ImportGraph, room: str, rooms: list[str]) -> list[str]:
    """The rooms that the modules of a room import."""
    modules = {room, *graph.find_descendants(room)}
    found = {found for module in modules for found in graph.find_modules_directly_imported_by(module)}
    return [r for r in rooms if r != room and any(f == r or f.startswith(f"{r}.") for f in found)]


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
