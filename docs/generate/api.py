"""The page of the public interface: what ``clplat`` and its public packages hand on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from clplat import mechanisms
from docs.generate.parts import SHOWN

__all__ = ["api_page"]

_HEAD = """\
# Python

The public interface: what is on this page, the parts, and their contracts, which stand on the first page of
each kind ({kinds}). Everything else is internal and may change.

"""


def api_page() -> str:
    """The page in Markdown; mkdocstrings fills in what the docstrings say."""
    kinds = ", ".join(f"[{kind.plural}]({kind.plural}/index.md)" for kind in SHOWN)
    cores = [f"{mechanisms.__name__}.{found.name}" for found in pkgutil.iter_modules(mechanisms.__path__)]
    lines, shown = [_HEAD.format(kinds=kinds)], {kind.contract.replace(":", ".") for kind in SHOWN}
    for module in ("clplat", "clplat.parts", *cores, "clplat.testing"):
        public = importlib.import_module(module)
        found = {}
        for name in sorted(public.__all__, key=str.lower):
            made = getattr(public, name)
            if inspect.isclass(made) or inspect.isroutine(made):
                found[f"{made.__module__}.{made.__qualname__}"] = name
        new = {place: name for place, name in found.items() if place not in shown}
        shown |= new.keys()
        lines += [f"## {module}", ""] if new else []
        for place, name in new.items():
            lines += [
                f"::: {place}",
                "    options:",
                f"      heading: {name}",
                f"      toc_label: {name}",
                "",
            ]
    return "\n".join(lines)
