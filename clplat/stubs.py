"""Type stubs for editors and type checkers: which classes a package of parts hands on, and from where.

``from strategies import EWC`` is answered at run time (`clplat.registry.exports`), which no editor can read.
These files say the same in writing, and so do those of the short names: ``clplat.losses`` for
``clplat.parts.losses``. ``make check`` writes all of them before mypy reads them, so that a new part needs
nothing, and a new kind no more than its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clplat.beside import BESIDE, ROOT
from clplat.files import write_text
from clplat.kinds import every_kind
from clplat.registry import classes_in, classes_of, place_of
from clplat.scan import Place, packages

__all__ = ["main", "short", "written"]

_HEAD = "# Written by `make check`; do not edit.\n"
_SHORT = '''"""{title}, in one line: ``from clplat.{kind} import {example}``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("{kind}")
'''


def written(package: str) -> dict[Path, str]:
    """The stubs of one scanned package: the package itself, or its folders of kinds, as path -> text."""
    folder = packages()[package]
    plurals = {kind.plural for kind in every_kind() if kind.plural}
    folders = [folder] if folder.name in plurals else [folder / name for name in sorted(plurals)]
    inner = {".".join((package, *path.relative_to(folder).parts)): path for path in folders}
    found = {path: classes_in(name) for name, path in inner.items()}
    return {path / "__init__.pyi": _stub(classes) for path, classes in found.items() if classes}


def short() -> dict[Path, str]:
    """The modules ``clplat.losses``, ``clplat.composers`` and so on, and their stubs, as path -> text."""
    found = {}
    for kind in every_kind():
        if not kind.plural:
            continue
        ours = {name: place for name, place in classes_of(kind.plural).items() if _ours(place.module)}
        path = ROOT / "clplat" / f"{kind.plural}.pyi"
        found[path] = _stub(ours)
        if kind.plural not in BESIDE:
            default = place_of(kind.plural, kind.default) if kind.default != "none" else None
            example = default.attribute if default else min(ours)
            text = _SHORT.format(title=kind.plural.capitalize(), kind=kind.plural, example=example)
            found[path.with_suffix(".py")] = text
    return found


def _ours(package: str) -> bool:
    return package.partition(".")[0] in ("clplat", *BESIDE)


def _stub(classes: Mapping[str, Place]) -> str:
    lines = [f"from {place.module} import {name} as {name}\n" for name, place in classes.items()]
    return _HEAD + "\n" * bool(lines) + "".join(sorted(lines, key=str.casefold))


def main() -> None:
    """Write the stubs of our own packages that have changed."""
    for package in filter(_ours, packages()):
        for path, text in written(package).items():
            _write(path, text)
    for path, text in short().items():
        _write(path, text)


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
        print(path)


if __name__ == "__main__":
    main()
