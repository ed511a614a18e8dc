"""Words of captions: which may be swapped or replaced so that the caption becomes wrong.

A swap that only reorders is left out, as what it gives still describes the picture: "a red and blue bag" and
"a blue and red bag", "a small red bag" and "a red small bag", "a black chair and a gray chair". An article
follows the sound of its word, and capitals stay in place: what is wrong is not told by its grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from clplat.mechanisms.lexicon import ADJECTIVES, ADVERBS, CONTRASTS, FUNCTION, NOUNS, VERBS

__all__ = ["Word", "replacements", "swapped_phrases", "swapped_words", "tagged"]

_ARTICLES = ("a", "an", "the")
_JOINS = ("and", "or", ",")


@dataclass(frozen=True)
class Word:
    """A word or a mark of a text: ``text[start:end]``, and what it is.

    ``kind`` is ``"noun"``, ``"adjective"``, ``"adverb"``, ``"verb"``, ``"function"`` or ``"mark"``.
    """

    said: str
    kind: str
    start: int
    end: int

    @property
    def lower(self) -> str:
        return self.said.lower()


@lru_cache(maxsize=1 << 16)
def tagged(text: str) -> tuple[Word, ...]:
    """The words and marks of a text, in order.

    Example:
        >>> [word.kind for word in tagged("A red striped bag, slowly falling")]
        ['function', 'adjective', 'adjective', 'noun', 'mark', 'adverb', 'verb']
    """
    found = re.finditer(r"\w+(?:['-]\w+)*|[^\w\s]", text)
    return tuple(Word(m[0], _kind(m[0].lower()), m.start(), m.end()) for m in found)


def _kind(word: str) -> str:
    known = {"function": FUNCTION, "noun": NOUNS, "adjective": ADJECTIVES, "verb": VERBS, "adverb": ADVERBS}
    for kind, words in known.items():
        if word in words:
            return kind
    if not word[0].isalnum():
        return "mark"
    if word.isdigit():
        return "function"
    if word.endswith("ly") and len(word) > 4:
        return "adverb"
    if word.endswith("ing") and len(word) > 5:
        return "verb"
    endings = ("ous", "ful", "less", "ish", "ive", "able", "ed")
    return "adjective" if word.endswith(endings) and len(word) > 5 else "noun"


def swapped_words(text: str, kind: str) -> list[str]:
    """The text with two words of a kind in each other's place, once for each pair that changes what it says.

    Example:
        >>> swapped_words("a small red bag with a long handle", "adjective")
        ['a long red bag with a small handle', 'a small long bag with a red handle']
    """
    words = tagged(text)
    places = [i for i, word in enumerate(words) if word.kind == kind]
    pairs = [(i, j) for i, j in combinations(places, 2) if not _same_meaning(words, i, j)]
    return [_written(text, words, {i: words[j].said, j: words[i].said}) for i, j in pairs]


def swapped_phrases(text: str) -> list[str]:
    """The text with two noun phrases, articles included, in each other's place.

    Example:
        >>> swapped_phrases("a little girl holds a red umbrella")
        ['a red umbrella holds a little girl']
    """
    words, made = tagged(text), []
    for (a, b), (c, d) in combinations(_phrases(words), 2):
        one, other = words[a:b], words[c:d]
        said = [" ".join(word.lower for word in part) for part in (one, other)]
        if said[0] == said[1] or _joined(words[b:c]):
            continue
        first, second = text[one[0].start : one[-1].end], text[other[0].start : other[-1].end]
        if a == 0 and first[0].isupper():
            first, second = first[0].lower() + first[1:], second[0].upper() + second[1:]
        middle = text[one[-1].end : other[0].start]
        made.append(text[: one[0].start] + second + middle + first + text[other[-1].end :])
    return made


def replacements(text: str, kind: str) -> list[str]:
    """The text with one word of a kind replaced by one that excludes it, for each such word and each other.

    Example:
        >>> replacements("a small dog", "adjective"), len(replacements("a red bag", "adjective"))
        (['a large dog'], 10)
    """
    words = tagged(text)
    there = {word.lower for word in words}
    return [
        _written(text, words, {i: other})
        for i, word in enumerate(words)
        for group in CONTRASTS.get(kind, ())
        if word.lower in group
        for other in sorted(group - there)
    ]


def _same_meaning(words: Sequence[Word], i: int, j: int) -> bool:
    """Whether swapping two words of one kind gives the same words again, or a caption that says the same."""
    if words[i].lower == words[j].lower:
        return True
    between, kind = words[i + 1 : j], words[i].kind
    rest = {w.lower for w in between if w.kind != kind and w.lower not in (*_JOINS, *_ARTICLES)}
    joined = any(word.lower in _JOINS for word in between)
    if kind == "adjective":
        if all(word.kind in ("adjective", "noun") for word in between):
            return True  # of one noun
        after = {words[j + 1].lower} if j + 1 < len(words) else set()
        return not rest or (joined and rest <= after)
    return joined and not rest and not (_described(words, i) or _described(words, j))


def _described(words: Sequence[Word], i: int) -> bool:
    return i > 0 and words[i].kind == "noun" and words[i - 1].kind in ("adjective", "noun")


def _joined(between: Sequence[Word]) -> bool:
    return all(word.lower in _JOINS for word in between)


def _phrases(words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Where noun phrases begin and end: an article, adjectives, nouns."""
    i = 0
    while i < len(words):
        end = i + (words[i].lower in _ARTICLES)
        while end < len(words) and words[end].kind in ("adjective", "noun"):
            end += 1
        if end > i and words[end - 1].kind == "noun":
            yield i, end
        i = max(end, i + 1)


def _written(text: str, words: Sequence[Word], changes: Mapping[int, str]) -> str:
    """The text with some words changed; spaces, marks and the capital of the first word stay."""
    said = {i: other.lower() if words[i].said.islower() or i == 0 else other for i, other in changes.items()}
    if 0 in said and words[0].said[0].isupper():
        said[0] = said[0][0].upper() + said[0][1:]
    if words[0].said[0].isupper() and 0 in changes:
        said = {i: other if i == 0 else other.lower() for i, other in said.items()}
    for i in [i for i in said if i > 0 and words[i - 1].lower in ("a", "an")]:
        article = "an" if said[i][0].lower() in "aeiou" else "a"
        said[i - 1] = article if words[i - 1].said.islower() else article.capitalize()
    made, end = [], 0
    for i in sorted(said):
        made += [text[end : words[i].start], said[i]]
        end = words[i].end
    return "".join([*made, text[end:]])
