"""A small MIT-States: drawn pictures in the official layout."""

from __future__ import annotations

from pathlib import Path

from clplat.testing.twins._drawing import SHAPES, put

__all__ = ["mit_states"]

_STATES = {"apple": "red green black", "door": "blue red", "fish": "red cyan black", "tea": "green black"}


def mit_states(folder: Path, pictures: int = 3) -> Path:
    """Write ``images/<adjective> <noun>/*.jpg``: two nouns for training, two for test (fish, tea).

    An adjective is the colour, a noun is the shape. One folder has a noun and no adjective, as some of the
    published ones have.

    Args:
        folder: what ``images`` is written to.
        pictures: in each folder.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> len(list(mit_states(Path(mkdtemp())).glob("images/*")))
        11
    """
    for shape, (noun, states) in zip(SHAPES, _STATES.items(), strict=False):
        for state in states.split():
            for i in range(pictures):
                put(folder / "images" / f"{state} {noun}" / f"{state}-{noun}-{i}.jpg", state, shape)
    put(folder / "images" / "adj fish" / "fish.jpg", "white", "disc")
    return folder
