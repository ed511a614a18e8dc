"""A docstring taken apart, and its pieces as Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

__all__ = ["cell", "formulas", "linked", "papers", "sections", "without_lone_formulas"]

_HEADING = re.compile(
    r"(Args|Attributes|Raises|Returns|References?|Numbers|Needs|Relations|What is trained|Examples?):"
    r"(?: +(.*))?"
)
_ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{4,5})")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)


def sections(text: str) -> dict[str, str]:
    """Heading -> text without indentation; what stands under no heading has the key ``""``.

    Example:
        >>> sections("One line.\\n\\nNeeds:\\n    A learner.\\n\\nMore.")
        {'': 'One line.\\n\\nMore.', 'Needs': 'A learner.'}
    """
    found: dict[str, list[str]] = {"": []}
    current, before = "", ""
    for line in text.strip().splitlines():
        heading = _HEADING.fullmatch(line)
        if heading:
            current = heading.group(1)
            found.setdefault(current, []).append(heading.group(2) or "")
        else:
            if line and not line.startswith(" ") and not before:
                current = ""
            found[current].append(line)
        before = line
    return {name: _dedented(lines) for name, lines in found.items()}


def _dedented(lines: list[str]) -> str:
    first, rest = lines[:1], textwrap.dedent("\n".join(lines[1:]))
    return "\n".join([*first, rest]).strip()


def formulas(text: str) -> list[str]:
    """The literals that define something, in their order: ``q = n(r)``, ``F <- F + F_new``.

    Example:
        >>> formulas("The mean, ``m = sum x / n``, with ``n=3``.")
        ['m = sum x / n']
    """
    literals = (" ".join(literal.split()) for literal in _LITERAL.findall(text))
    return [literal for literal in literals if re.search(r" (=|<-) ", literal)]


def without_lone_formulas(text: str) -> str:
    """The text without paragraphs that are one formula and nothing else."""
    kept = [part for part in text.split("\n\n") if not (_LITERAL.fullmatch(part.strip()) and formulas(part))]
    return "\n\n".join(kept)


def papers(text: str) -> str:
    """The text with every arXiv number as a link.

    Example:
        >>> papers("LoRA, arXiv 2106.09685")
        'LoRA, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)'
    """
    return _ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def linked(text: str, address: Callable[[str], str | None]) -> str:
    """The text with every class in single backticks as a link, where there is an address for it."""

    def link(found: re.Match[str]) -> str:
        target = address(found.group(1))
        return found.group(0) if target is None else f"[{found.group(0)}]({target})"

    return re.sub(r"(?<!`)`([A-Z]\w+)`(?!`)", link, text)


def cell(text: str) -> str:
    """Text for a cell of a table: on one line, and no product or comparison is read as markup.

    Example:
        >>> cell("at most r*r, i < 3")
        'at most r\\\\*r, i &lt; 3'
    """
    pieces = re.split(r"(`+[^`]*`+)", " ".join(text.split()))
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"(?<=\w)\*(?=\w)", r"\\*", pieces[i].replace("<", "&lt;").replace("|", "\\|"))
    return "".join(pieces)
