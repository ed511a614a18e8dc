"""A caption rewritten by a modification text, by rules: what is asked for replaces, joins or leaves it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clplat.mechanisms.phrases import changes, contrasts
from clplat.mechanisms.words import tagged

__all__ = ["in_values", "rewritings", "rewritten"]

#: How one caption is said in several ways, the plain one first; with one ``*`` each.
_WAYS = ("*", "a photo of *", "a picture of *", "this is *", "an image that shows *")
#: What stands before a phrase and goes with it.
_BEFORE = re.compile(r"(?:\s*,)?\s*(?:\b(?:and|with|of|in|on|has|wearing)\s+)?(?:\b(?:a|an|the|its|no)\s+)?$")
_ARTICLE = re.compile(r"\b(?:(?P<article>a|an)|no) $", re.IGNORECASE)
#: Words of a phrase that say nothing of a picture: polite ones, degrees, nouns that go without saying.
_POLITE = re.compile(r"^(?:(?:should|must|be|also|one|that|is|has)\s+)+")
_IDLE = re.compile(r"\b(?:a bit|a lot|much|slightly|little|print|pattern|design|style)\b")


def rewritten(caption: str, text: str) -> str:
    """What a picture with this caption would show after the change that a text asks for.

    A value takes the place of the one that it excludes, a phrase that of the phrase of the same noun; what is
    named as gone goes; anything else is added. No rule understands more than `changes` reads.

    Args:
        caption: of the reference; "" where nothing is known: the text says all then.
        text: the change; "" leaves the caption as it is.

    Example:
        >>> rewritten("a red dress with long sleeves and a bow", "is blue and has shorter sleeves")
        'a blue dress with short sleeves and a bow'
        >>> rewritten("a small bag with a short handle and a bow", "has no bow, comes with a zip")
        'a small bag with a short handle, with a zip'
        >>> rewritten("a dog on a beach", "replace the dog with an elephant")
        'an elephant on a beach'
    """
    said = " ".join(caption.split())
    if not text.strip():
        return said
    if not said:
        return " ".join(text.split())
    for change in changes(text):
        said = _changed(said, in_values(change.added, said), change.removed)
    return said


def rewritings(caption: str, text: str, number: int) -> tuple[str, ...]:
    """Several sentences that say the rewritten caption, distinct, the plain one first; at most five.

    Example:
        >>> rewritings("a red bag", "is blue", 2)
        ('a blue bag', 'a photo of a blue bag')
    """
    made = rewritten(caption, text)
    return tuple(way.replace("*", made) for way in _WAYS[: max(1, number)])


def in_values(phrase: str, said: str = "") -> str:
    """A phrase in the words of a caption: "much longer sleeved" -> "long sleeves"."""
    words = _IDLE.sub(" ", _POLITE.sub("", phrase)).split()
    return " ".join(_value(word, said) for word in words)


def _value(word: str, said: str) -> str:
    """A comparative as the value that it leads to, and "sleeved" as the noun of the caption."""
    if word == "bigger":
        return "large"
    forms = (word[:-2], word[:-1], word[:-3]) if word.endswith("er") else ()
    noun = word.endswith("ed") and not contrasts(word)
    nouns = (f"{word[:-1]}s", f"{word[:-2]}s", word[:-1], word[:-2]) if noun else ()
    known = [form for form in forms if contrasts(form)] + [noun for noun in nouns if _place(said, noun)]
    return known[0] if known else word


def _changed(said: str, added: str, gone: str) -> str:
    """The caption after one change."""
    place = _place(said, gone) if gone else None
    if place is not None:
        return _put(said, *place, added) if added else _without(said, *place)
    if not added or (_place(said, added) and not contrasts(added)):
        return said
    nouns = [word.lower for word in tagged(added) if word.kind == "noun"]
    if nouns and (place := _named(said, nouns[-1])):
        return _put(said, *place, added)
    left: list[str] = []
    for value in added.split():
        other = next((w for w in tagged(said) if contrasts(value) and w.lower in contrasts(value)), None)
        if other is None:
            left.append(value)
        else:
            said = _put(said, other.start, other.end, value)
    fresh = _without_idle_ends(left)
    return _with(said, fresh) if fresh else said


def _without_idle_ends(words: Sequence[str]) -> Sequence[str]:
    """What is left of "steel for men" where men were put in the caption: steel."""
    named = [i for i, word in enumerate(words) if tagged(word)[0].kind not in ("function", "mark")]
    return words[named[0] : named[-1] + 1] if named else []


def _place(said: str, phrase: str) -> tuple[int, int] | None:
    found = re.search(rf"\b{re.escape(phrase)}\b", said)
    return found.span() if found else None


def _named(said: str, noun: str) -> tuple[int, int] | None:
    """The phrase of a caption that ends in a noun and is not what the caption is of."""
    words = tagged(said)
    ends = [i for i, word in enumerate(words) if word.lower == noun]
    first = next((i for i, word in enumerate(words) if word.kind == "noun"), None)
    if not ends or ends[0] == first:
        return None
    start = ends[0]
    while start and words[start - 1].kind in ("adjective", "noun"):
        start -= 1
    return words[start].start, words[ends[0]].end


def _put(said: str, start: int, end: int, new: str) -> str:
    """The caption with words in another's place, and the article that they take."""
    before, behind = said[:start], said[end:]
    one = _article(new) if tagged(new)[-1].kind == "noun" else ""
    if article := _ARTICLE.search(before):
        own = _article(new)
        before = before[: article.start()] + (own.capitalize() if article[0][0].isupper() else own)
    elif one and said[start:end].endswith("s"):
        before += one  # "studs" -> "a bow"
    return before + new + behind


def _article(phrase: str) -> str:
    """ "a ", "an ", or nothing before what is more than one or has an article."""
    last = phrase.split()[-1]
    many = last.endswith("s") and not last.endswith("ss")
    if many or re.match(r"(?:a|an|the|no|some)\b ", phrase):
        return ""
    return "an " if phrase[0] in "aeiou" else "a "


def _without(said: str, start: int, end: int) -> str:
    """The caption without some words, and without what joined them to the rest."""
    joined = _BEFORE.search(said[:start])
    assert joined is not None
    before, behind = said[: joined.start()], said[end:].lstrip()
    if (follows := re.match(r"(?:and\b|,)\s*", behind)) and "with" in joined[0]:
        behind = f"with {behind[follows.end() :]}"
    made = re.sub(r"\s+,", ",", " ".join(f"{before} {behind}".split())).strip(" ,")
    return made or said


def _with(said: str, words: Sequence[str]) -> str:
    """The caption with a phrase behind it, or with an adjective before what it is of."""
    phrase = " ".join(words)
    kinds = [word.kind for word in tagged(phrase)]
    first = next((word for word in tagged(said) if word.kind in ("noun", "adjective")), None)
    if kinds == ["adjective"] and first is not None:
        return _put(said, first.start, first.end, f"{phrase} {first.said}")
    return f"{said}, with {_article(phrase) if kinds[-1] == 'noun' else ''}{phrase}"
