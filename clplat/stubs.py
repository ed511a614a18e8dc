"""Type stubs for editors and type checkers: which classes a package of parts hands on, and from where.

``from strategies import EWC`` is answered at run time (`clplat.registry.exports`), which no editor can read.
These files say the same in writing. ``make check`` writes them before mypy reads them, so that a new part
needs nothing.
"""

from __future__ import annotations

from pathlib import Path

from clplat.files import write_text
from clplat.kinds import every_kind
from clplat.registry import classes_in
from clplat.scan import ROOT, packages

__all__ = ["main", "written"]

_HEAD = "# Written by `make check`; do not edit.\n"


def written(package: str) -> dict[Path, str]:
    """The stubs of one scanned package: the package itself, or its folders of kinds, as path -> text."""
    folder = packages()[package]
    plurals = {kind.plural for kind in every_kind() if kind.plural}
    folders = [folder] if folder.name in plurals else [folder / name for name in sorted(plurals)]
    inner = {".".join((package, *path.relative_to(folder).parts)): path for path in folders}
    return {path / "__init__.pyi": _stub(name) for name, path in inner.items() if classes_in(name)}


def _stub(package: str) -> str:
    lines = [f"from {place.module} import {name} as {name}\n" for name, place in classes_in(package).items()]
    return _HEAD + "\n" * bool(lines) + "".join(sorted(lines, key=str.casefold))


def main() -> None:
    """Write the stubs of our own packages that have changed."""
    for package, folder in packages().items():
        ours = folder == ROOT.joinpath(*package.split("."))
        for path, text in written(package).items() if ours else ():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)
                print(path)


if __name__ == "__main__":
    main()
