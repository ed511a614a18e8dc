"""One question per script: edit the sweep at its top, run it, read the report."""

from __future__ import annotations

__all__ = ["question_of"]


def question_of(doc: str | None) -> str:
    """The question of a script: the first two paragraphs of its docstring, in one line.

    Example:
        >>> question_of("How large?\\n\\nTwo sizes\\nare compared.\\n\\n    python ...")
        'How large? Two sizes are compared.'
    """
    return " ".join(" ".join((doc or "").split("\n\n")[:2]).split())
