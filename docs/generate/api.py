"""The page of the Python interface: what ``clplat`` and ``clplat.testing`` hand on."""

from __future__ import annotations

import inspect

import clplat
from clplat import testing

__all__ = ["api_page"]

_HEAD = """\
# Python

The public interface: what is on this page, the parts, and their contracts (on the first page of each kind).
Everything else is internal and may change.

"""


def api_page() -> str:
    """The page in Markdown; mkdocstrings fills in what the docstrings say."""
    lines = [_HEAD]
    for module in (clplat, testing):
        lines += [f"## {module.__name__}", ""]
        for name in sorted(module.__all__, key=str.lower):
            made = getattr(module, name)
            if inspect.isclass(made) or inspect.isroutine(made):
                lines += [f"::: {made.__module__}.{made.__qualname__}", ""]
    return "\n".join(lines)
