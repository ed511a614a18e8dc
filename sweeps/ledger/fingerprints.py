"""Whether a run would come out the same again: its configuration, its parts' source and its local model."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from clplat import registry
from clplat.config.resolved import Config
from clplat.kinds import INSIDE, KINDS
from clplat.models.known import folder_named

__all__ = ["fingerprint", "sources", "statements"]

ROOT = Path(__file__).resolve().parents[2]
#: What belongs to parts. Trainer, evaluation and the contracts are common to all rows: where they change a
#: number, all rows are begun anew, in another folder.
OWN = ("strategies/", "scenarios/", "clplat/parts/", "clplat/mechanisms/")


def fingerprint(config: Config) -> str:
    """sha256 of a resolved configuration, its parts' statements and the files of a local model."""
    digest = hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True, default=str).encode())
    if folder := folder_named(config.name("backbone")):
        for path in sorted(path for path in folder.glob("*") if path.is_file()):
            digest.update(f"{path.name}\0{_of_bytes(path, path.stat().st_mtime_ns)}\0".encode())
    for path in sorted(sources(config)):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{statements(path)}\0".encode())
    return digest.hexdigest()


@cache
def _of_bytes(path: Path, changed: int) -> str:
    """sha256 of a file's bytes, read again when it has ``changed``."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def statements(path: Path) -> str:
    """The code of a file without comments, docstrings and layout, which change no number.

    Example:
        >>> "Whether a run" in statements(Path(__file__)), "sha256" in statements(Path(__file__))
        (False, True)
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def sources(config: Config) -> set[Path]:
    """The files of all parts that a configuration names, and what these import of other parts and mechanisms.

    Example:
        >>> from clplat.config.resolve import resolve
        >>> found = {path.name for path in sources(resolve({"strategy": "replay"}))}
        >>> {"replay.py", "info_nce.py"} <= found, "ewc.py" in found
        (True, False)
    """
    found: set[Path] = set()
    todo = [path for kind, name in _parts(config.as_dict()) for path in _file(kind, name)]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += _imported(path)
    return found


def _parts(tree: Any, slot: str = "") -> Iterator[tuple[str, str]]:
    """Kind and name of every part in a configuration, also of those inside others."""
    if not isinstance(tree, dict):
        return
    if kind := (KINDS | INSIDE).get({"teachers": "teacher"}.get(slot, slot)):
        for name in str(tree.get("name", "")).split(","):
            yield kind.plural, name
    for key, value in tree.items():
        yield from _parts(value, key)


def _file(kind: str, name: str) -> list[Path]:
    if not kind or name not in registry.names(kind):
        return []
    return _module(registry.place_of(kind, name).module)


def _module(name: str) -> list[Path]:
    """The file of a module of ours, if it belongs to parts and does not only hand their names on."""
    base = re.sub(r"^clplat\.(?=strategies|scenarios)", "", name).replace(".", "/")
    paths = [ROOT / f"{base}.py", ROOT / base / "__init__.py"]
    return [path for path in paths if base.startswith(OWN) and path.name != "_base.py" and path.exists()]


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(found for name in names for found in _module(name))
