"""Captions, and modification texts in the manner of people who shop.

A modification text is a few clauses, one per changed attribute, such as "is red instead of blue and has
longer sleeves". Every clause determines the attribute's new value, given the old one: "is longer" is said
only where one longer value exists, "a bit longer" means the next one, "much longer" the one after.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .items import Item, changed
from .wording import ADJECTIVES, CLAUSES, COMPARED, DETAILS, NOUNS, WITH

__all__ = ["clauses", "describe", "modification", "pretraining_caption", "prompt", "retold"]

_OPENINGS = ("", "", "", "it ", "i want one that ", "the same but it ", "should be one that ", "the {noun} ")
_CAPTIONS = ("{}", "a picture of {}", "a photo of {}", "this is {}", "{} for sale")


def clauses(attribute: str, before: str | None, after: str) -> list[str]:
    """All ways to say that an attribute becomes ``after``; no two values of it share one.

    Args:
        attribute: a key of one of the tables of `ATTRIBUTES`.
        before: the reference's value, or None where there is no reference.
        after: the value asked for.
    """
    if attribute == "detail":
        return _detail(before, after)
    if attribute == "colour":
        said = [f"is {after}", f"is {after} in color", f"comes in {after}", f"has {_article(after)} color"]
    else:
        said = list(CLAUSES[attribute][after])
    if before is None:
        return said
    if attribute in ("colour", "pattern"):
        return [*said, f"is {after} instead of {before}", f"is {after} rather than {before}"]
    return said + _compared(attribute, before, after)


def _detail(before: str | None, after: str) -> list[str]:
    old = DETAILS.get(before or "", "")
    if after == "none":
        lost = old or "details"
        return [f"has no {lost.removeprefix('a ')}", f"is without {lost}", f"comes without {lost}"]
    new = DETAILS[after]
    if not old:
        return [f"has {new}", f"comes with {new}", f"is decorated with {new}"]
    # The text says that the old detail goes: a belt beside the collar would be another product.
    return [
        f"has {new} instead of {old}",
        f"has {new} rather than {old}",
        f"comes with {new} in place of {old}",
    ]


def _compared(attribute: str, before: str, after: str) -> list[str]:
    """Comparative clauses that single out ``after``, if any."""
    order, up, down = COMPARED.get(attribute, ((), (), ()))
    if before not in order or after not in order:
        return []
    here, there = order.index(before), order.index(after)
    words, on_that_side = (up, len(order) - 1 - here) if there > here else (down, here)
    degrees = [""] if on_that_side == 1 else []
    if len(order) > 2:
        degrees += ["a bit ", "slightly "] if abs(there - here) == 1 else ["a lot ", "much "]
    said = [word.format(degree) for word in words for degree in degrees]
    return [clause for clause in said if " a a " not in clause]  # "a slightly", not "a a bit higher heel"


def modification(reference: Item, target: Item, rng: np.random.Generator) -> str:
    """Say in one line how the target differs from the reference.

    Example:
        >>> from scenarios._catalogue.items import generator
        >>> plain = Item("bag", ("red", "plain", "small", "long", "none"))
        >>> modification(plain, plain.replace("detail", "bow"), generator(3)).endswith("bow")
        True
    """
    names = changed(reference, target)
    order = [names[int(i)] for i in rng.permutation(len(names))]
    parts = [_pick(clauses(n, reference[n], target[n]), rng) for n in order]
    return _opening(_OPENINGS, reference.category, rng) + _join(parts, rng)


def describe(item: Item, rng: np.random.Generator | None = None, share: float = 1.0) -> str:
    """Name a product: "a small red striped bag with a short handle and a bow".

    Args:
        item: the product.
        rng: varies the noun and what is left out; None says everything, always in the same words.
        share: chance of each attribute beside the colour to be said.
    """
    said = [n for n in item.attributes if n == "colour" or rng is None or rng.random() < share]
    adjectives = [ADJECTIVES[n][item[n]] for n in said if item[n] in ADJECTIVES.get(n, {})]
    adjectives += [item[n] for n in ("colour", "pattern") if n in said]
    extras = [WITH[n][item[n]] for n in said if item[n] in WITH.get(n, {})]
    if "detail" in said and item["detail"] != "none":
        extras.append(DETAILS[item["detail"]])
    noun = NOUNS[item.category][0] if rng is None else _pick(NOUNS[item.category], rng)
    phrase = _article(" ".join([*adjectives, noun]), item.category)
    if not extras:
        return phrase
    *first, last = extras
    return f"{phrase} with {', '.join(first)} and {last}" if first else f"{phrase} with {last}"


def retold(item: Item) -> str:
    """Name a product in other words than `describe`: "a bag that has a bow, is large and is red"."""
    *first, last = [clauses(n, None, item[n])[0] for n in reversed(item.attributes)]
    return f"{_article(NOUNS[item.category][0], item.category)} that {', '.join(first)} and {last}"


def prompt(category: str, colour: str) -> str:
    """The zero-shot prompt of a class: "a picture of a red dress"."""
    return f"a picture of {_article(f'{colour} {NOUNS[category][0]}', category)}"


def pretraining_caption(item: Item, rng: np.random.Generator) -> str:
    """A caption of a web picture: full, partial, or in the words of modification texts.

    The last kind teaches a small CLIP the clauses that queries use ("is red and has long sleeves"), so that
    adding a text embedding to a picture embedding means something before any composed training.
    """
    kind = rng.random()
    if kind < 0.65:
        return _pick(_CAPTIONS, rng).format(describe(item, rng, 1.0 if kind < 0.4 else 0.5))
    names = list(item.attributes)
    order = [names[int(i)] for i in rng.permutation(len(names))[: int(rng.integers(1, len(names) + 1))]]
    parts = [_pick(clauses(n, None, item[n]), rng) for n in order]
    return _opening(("", "it ", "the {noun} ", "a {noun} that "), item.category, rng) + _join(parts, rng)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _opening(options: Sequence[str], category: str, rng: np.random.Generator) -> str:
    # Every clause is in the singular: "the pair is red".
    noun = "pair" if category == "trousers" else _pick(NOUNS[category], rng)
    return _pick(options, rng).format(noun=noun)


def _article(phrase: str, category: str = "") -> str:
    return f"{'a pair of' if category == 'trousers' else 'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _join(parts: list[str], rng: np.random.Generator) -> str:
    """Join clauses: "is red, is short and has a belt"; a repeated verb may go: "is red and short"."""
    text = parts[0]
    for i, (previous, part) in enumerate(pairwise(parts), start=1):
        verb, _, rest = part.partition(" ")
        last = i == len(parts) - 1
        glue = _pick((" and ", " and ", " and also ", ", ") if last else (", ", " and "), rng)
        elide = previous.partition(" ")[0] == verb and rng.random() < 0.5
        text += glue + (rest if elide else part)
    return text
