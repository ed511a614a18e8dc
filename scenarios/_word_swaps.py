"""Captions that differ in one word: which follow from which, and what is said of it, as TIRG does."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["as_caption", "children", "swap"]

_SIGNS = ((".", "dotmark"), ("?", "questionmark"), ("&", "andmark"), ("*", "starmark"))


def as_caption(text: str) -> str:
    """A label's text as a caption: signs are spelt out.

    Example:
        >>> as_caption(" black & white dress. ")
        'black andmark white dressdotmark'
    """
    text = text.strip()
    for sign, word in _SIGNS:
        text = text.replace(sign, word)
    return text


def swap(source: str, target: str) -> str:
    """What leads from one caption to another: the first word of each that the other lacks, or its last.

    Example:
        >>> swap("red silk dress", "blue silk dress")
        'replace red with blue'
    """
    old, new = source.split(), target.split()
    gone = next((word for word in old if word not in new), old[-1])
    come = next((word for word in new if word not in old), new[-1])
    return f"replace {gone} with {come}"


def children(captions: Iterable[str]) -> dict[str, list[str]]:
    """What is left of captions without a word -> the distinct captions that leave it.

    A word goes wherever its letters stand, as in TIRG's code: "red" out of "red redwood" leaves "wood".

    Example:
        >>> children(["red dress", "blue dress"])["dress"]
        ['red dress', 'blue dress']
    """
    found: dict[str, dict[str, None]] = {}
    for caption in dict.fromkeys(captions):
        for word in caption.split():
            left = caption.replace(word, "").replace("  ", " ").strip()
            found.setdefault(left, {})[caption] = None
    return {left: list(each) for left, each in found.items()}
