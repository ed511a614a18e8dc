"""A table for other programs: CSV, LaTeX (booktabs) and markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clplat.tables.text import Body, Head, aligned, markdown

__all__ = ["FORMATS"]


def _csv(head: Head, body: Body, words: int) -> str:
    from pandas import DataFrame

    return str(DataFrame(body, columns=list(head)).to_csv(index=False)).rstrip("\n")


def _latex(head: Head, body: Body, words: int) -> str:
    from pandas import DataFrame
    from pandas.io.formats.style import Styler

    shown: Styler = DataFrame(body, columns=list(head)).style.hide(axis="index").format(escape="latex")
    shown = shown.format_index(escape="latex", axis="columns")
    places = "l" * words + "r" * (len(head) - words)
    return str(shown.to_latex(hrules=True, column_format=places)).rstrip("\n")


#: How a table of ``head``, ``body`` and so many columns of words is written, by the name of the format.
FORMATS: Mapping[str, Callable[[Head, Body, int], str]] = {
    "text": aligned,
    "csv": _csv,
    "latex": _latex,
    "markdown": markdown,
}
