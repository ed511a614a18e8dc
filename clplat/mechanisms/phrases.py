"""What a modification text adds to a picture and what it takes away, read by rules."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clplat.mechanisms.lexicon import CONTRASTS

__all__ = ["Change", "changes", "contrasts"]


@dataclass(frozen=True)
class Change:
    """One clause of a text.

    Args:
        added: what shall be there, "" for nothing.
        removed: what shall be gone, "" where that is not said.
    """

    added: str = ""
    removed: str = ""


_CLAUSES = re.compile(r"\s*(?:[,;.!?]|\band\b|\bbut\b)\s*")
#: Forms of a clause, the first that fits counts; what is neither added nor removed has no name.
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"^(?:.*?\b)?(?:change|turn|swap|replace)s?\s+(?P<removed>.+?)\s+(?:to|into|with|by|for)\s+(?P<added>.+)$",
        r"^(?P<added>.+?)\s+(?:instead of|rather than|in place of|in exchange for)\s+(?P<removed>.+)$",
        r"^(?:.*\b)?(?:without|no longer|no|removes?|deletes?|minus|loses?|lacks|not)\s+(?P<removed>.+)$",
        r"^(?P<added>.+)$",
    )
)
#: Words before a phrase that say nothing about a picture.
_LEAD = re.compile(
    r"^(?:(?:it|this|one|that|which|is|are|has|have|had|with|in|a|an|the|its|more|makes?|made|be|being|adds?|"
    r"added|shows?|me|i|wants?|comes?|change|turn|same|to|as|into|of|for|please|gets?|decorated|colou?r|"
    r"another|some|any)\s+)+"
)
_TAIL = re.compile(r"\s+(?:instead|in colou?r|colou?r|please|too|as well)$")


def changes(text: str) -> list[Change]:
    """The changes that a text asks for, clause by clause.

    A text of no known form is one that adds all of it.

    Example:
        >>> changes("is red instead of blue and has no collar")
        [Change(added='red', removed='blue'), Change(added='', removed='collar')]
        >>> changes("replace the dog with a cat")
        [Change(added='cat', removed='dog')]
    """
    found = []
    for clause in filter(None, _CLAUSES.split(" ".join(text.lower().split()))):
        said = next(match for form in _FORMS if (match := form.match(clause))).groupdict()
        change = Change(_phrase(said.get("added") or ""), _phrase(said.get("removed") or ""))
        if change != Change():
            found.append(change)
    return found or [Change(added=text.strip())]


def _phrase(clause: str) -> str:
    """Without what stands around it: "it has a bow instead" -> "bow"."""
    return _TAIL.sub("", _LEAD.sub("", clause.strip() + " ").strip())


_GROUPS = {word: tuple(sorted(group)) for groups in CONTRASTS.values() for group in groups for word in group}


def contrasts(word: str) -> tuple[str, ...]:
    """The values that exclude each other and that a word is one of, itself among them; none for other words.

    Example:
        >>> contrasts("striped")
        ('checked', 'dotted', 'floral', 'plain', 'striped')
    """
    return _GROUPS.get(word, ())
