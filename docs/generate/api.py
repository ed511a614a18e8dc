"""The page of the Python interface: what ``clplat`` and ``clplat.testing`` hand on."""

from __future__ import annotations

import inspect

import clplat
from clplat import testing

__all__ = ["api_page"]

_HEAD = """\
# Python

What is on this page and in the contracts of the kinds of parts (the first page of each kind) keeps its
meaning from one version to the next. Everything else is internal.

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
