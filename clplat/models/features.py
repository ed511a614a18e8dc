"""What the towers hand to composers: features of pictures and of texts, before any normalisation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias, TypeVar

from torch import Tensor

from clplat.errors import unknown_name

__all__ = [
    "NAMED",
    "NOTHING",
    "POOLED",
    "TOKENS",
    "WANTS",
    "ImageFeatures",
    "TextFeatures",
    "Triplets",
    "Wants",
    "checked_wants",
    "given",
    "in_float",
]

#: Names of features, in `WANTS`.
Wants: TypeAlias = Collection[str]
#: What can be wanted of a tower. ``pooled``: (B, D) in the joint space. ``states``: (B, layers, W), what the
#: tower pools from, after every block. ``tokens``: (B, N, W) after the last block. ``hidden``: the output of
#: every block. ``input``: what goes in, for which nothing is computed. ``name``: of a picture its key and its
#: caption, which travel with it in any case: who reads them says so, and no tower has to do anything.
#: ``sets``: of a text (B, K, D), a pooled feature for each of K prompts; one where there are no several.
WANTS = frozenset({"pooled", "states", "tokens", "hidden", "input", "name", "sets"})
POOLED, TOKENS, NOTHING = frozenset({"pooled"}), frozenset({"tokens"}), frozenset[str]()
NAMED = frozenset({"name"})

#: Stands for a pooled feature that nobody wanted.
_MISSING: Any = None
F = TypeVar("F", "ImageFeatures", "TextFeatures")


def checked_wants(wants: Wants) -> frozenset[str]:
    """These names, all of them known, without ``name``: what a tower is asked for.

    Raises:
        UserError: one is not in `WANTS`; the nearest name is offered.

    Example:
        >>> sorted(checked_wants({"pooled", "tokens"}))
        ['pooled', 'tokens']
    """
    for name in wants:
        if name not in WANTS:
            raise unknown_name("feature", name, WANTS)
    return frozenset(wants) - NAMED


@dataclass(kw_only=True)
class ImageFeatures:
    """Features of B pictures: those that were wanted, see `WANTS`; reading ``pooled`` otherwise raises.

    ``pooled`` (B, D) lies in the joint space and is *not* normalised; ``states`` (B, layers, W) is the class
    token after every block; ``tokens`` (B, N, W) are the patch tokens after the last block; ``hidden`` holds
    the output of every block, each (B, 1 + N, W); ``pixels`` (B, 3, S, S) is the input. ``keys`` name the
    pictures, where they have names, and ``captions`` say what they show, "" where that is not known.
    """

    pooled: Tensor = field(default_factory=lambda: _MISSING, repr=False)
    states: Tensor | None = field(default=None, repr=False)
    tokens: Tensor | None = field(default=None, repr=False)
    hidden: list[Tensor] = field(default_factory=list, repr=False)
    pixels: Tensor | None = field(default=None, repr=False)
    keys: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _forget_unwanted(self)

    def __getattr__(self, name: str) -> Any:
        return _refuse_unwanted(self, name)

    def part(self, rows: Sequence[int]) -> ImageFeatures:
        """The features of these pictures."""
        return _part(self, rows)

    def without_parts(self) -> ImageFeatures:
        """The pooled feature, where it was computed, and names; no patches and no layers."""
        pooled: Any = vars(self).get("pooled")
        return ImageFeatures(pooled=pooled, keys=self.keys, captions=self.captions)


@dataclass(kw_only=True)
class TextFeatures:
    """Features of B texts, as `ImageFeatures`.

    ``sets`` (B, K, D) are what ``pooled`` was made of, where a prompt has several sets of vectors.
    ``states`` holds the EOT after every block, ``ends`` (B,) is its place, ``input_ids`` (B, L) are the token
    ids. ``texts`` are the texts themselves, or their ids as text where those are not known.
    """

    pooled: Tensor = field(default_factory=lambda: _MISSING, repr=False)
    states: Tensor | None = field(default=None, repr=False)
    tokens: Tensor | None = field(default=None, repr=False)
    hidden: list[Tensor] = field(default_factory=list, repr=False)
    ends: Tensor | None = field(default=None, repr=False)
    input_ids: Tensor | None = field(default=None, repr=False)
    sets: Tensor | None = field(default=None, repr=False)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _forget_unwanted(self)

    def __getattr__(self, name: str) -> Any:
        return _refuse_unwanted(self, name)

    def part(self, rows: Sequence[int]) -> TextFeatures:
        """The features of these texts."""
        return _part(self, rows)


@dataclass(frozen=True, kw_only=True)
class Triplets:
    """Features of those examples of a batch that are a picture with a text and whose answer has a picture.

    Args:
        rows: which examples of the batch they are.
        reference: of their pictures; text: of their texts; answer: of the answers' pictures.
    """

    rows: list[int]
    reference: ImageFeatures
    text: TextFeatures
    answer: ImageFeatures

    def __len__(self) -> int:
        return len(self.rows)


def given(features: ImageFeatures | TextFeatures) -> list[Tensor | None]:
    """All that a tower gave, from which gradients may come back."""
    known = vars(features)
    named = [known.get(name) for name in ("pooled", "tokens", "states", "sets")]
    return [*named, *known["hidden"][-1:]]


def in_float(features: F) -> F:
    """The same features, in float32 whatever the towers compute in."""
    for name in ("pooled", "states", "tokens", "sets"):
        value = vars(features).get(name)
        if isinstance(value, Tensor):
            setattr(features, name, value.float())
    return features


def _part(features: F, rows: Sequence[int]) -> F:
    """Of every field the entries of these rows."""
    rows = list(rows)
    start = rows[0] if rows else 0
    # A slice shares memory; picking rows one by one would copy them, and wait for a device.
    consecutive = rows == list(range(start, start + len(rows)))
    chosen: Any = slice(start, start + len(rows)) if consecutive else rows

    def pick(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[chosen]
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return [pick(layer) for layer in value]
        return [value[row] for row in rows] if isinstance(value, list) and value else value

    held = {f.name: vars(features).get(f.name) for f in fields(features)}
    return type(features)(**{name: pick(value) for name, value in held.items()})


def _forget_unwanted(features: Any) -> None:
    if features.pooled is None:
        del features.pooled


def _refuse_unwanted(features: Any, name: str) -> Any:
    """Called for an attribute that is not there: one that nobody wanted has a message of its own."""
    if name == "pooled":
        raise AttributeError("'pooled' was not computed: who reads it says so in its `wants`")
    raise AttributeError(f"'{type(features).__name__}' object has no attribute '{name}'")
